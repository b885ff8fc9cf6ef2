# One virtual environment, made from the lock files by plain venv and pip; nothing else is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

# Tests mostly wait for real processes: four at once suit two cores.
TESTERS ?= 4

.PHONY: run test chaos fuzz check bench bench-all bench-plots format lock clean

## Run the chat on this machine: `make run ARGS="--tcp-port 5050"`
run: $(RUN_STAMP)
	@exec $(BIN)/causerie serve $(ARGS)

## Run all tests: `make test ARGS="-k units"`
test: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(TESTERS) --dist worksteal $(ARGS)

## Throw noise and bitten sessions at the codecs and a real gateway: `make fuzz DURATION=10m`
fuzz: $(DEV_STAMP)
	$(BIN)/python -m tests.fuzz $(or $(DURATION),60s)

## Break everything at random for two minutes and look for losses: `make chaos ARGS="--seed 7 --duration 600"`
chaos: $(DEV_STAMP)
	$(BIN)/python -m tests.chaos $(ARGS)

## Lint, format, types, arrows of import
check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## Measure, see docs/performance.md; without ARGS the scenarios are listed: `make bench ARGS="fanout-tcp-8 idle-tcp"`
bench: $(DEV_STAMP)
	$(BIN)/python -m bench.run $(ARGS)

## Measure everything, keep the medians in docs/benchmarks and draw them; hours: `make bench-all ARGS="--rounds 3"`
bench-all: $(DEV_STAMP)
	-$(BIN)/python -m bench.run --keep $(ARGS) $(or $(GROUPS),ours floor growth peers)
	@$(MAKE) bench-plots

## Draw what docs/benchmarks/*.json hold
bench-plots: $(DEV_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/plots.lock
	$(BIN)/python -m bench.plots

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## Write the lock files anew from pyproject.toml
lock: | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(call compile,requirements.lock,--extra build)
	$(call compile,requirements-dev.lock,--extra build --extra dev)
	$(call compile,bench/plots.lock,-c requirements-dev.lock,bench/plots.in)

compile = $(BIN)/uv pip compile $(or $(3),pyproject.toml) $(2) --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade -o $(1)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Causerie needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): requirements.lock pyproject.toml | $(VENV)/pyvenv.cfg
	$(call install,requirements.lock)

$(DEV_STAMP): requirements-dev.lock pyproject.toml | $(VENV)/pyvenv.cfg
	$(call install,requirements-dev.lock)
	@touch $(RUN_STAMP)

install = @echo "Installing into $(VENV) ..." && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . && \
	touch $@
