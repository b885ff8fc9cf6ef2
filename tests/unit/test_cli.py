"""What `causerie` says before any program runs: one line and status 2 for bad arguments."""

import subprocess
import sys

import pytest

from causerie import __version__
from cli.__main__ import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run_it(*argv: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["causerie", *argv])
        try:
            status: int | str | None = main()
        except SystemExit as ended:
            status = ended.code
        return (status, *capsys.readouterr())

    return run_it


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["serve", "--nope"],
        ["gateway", "--http-port", "x"],
        ["worker", "--namespace", "A"],
        ["chat", "http://127.0.0.1:1"],
        ["chat", "tcp://127.0.0.1"],
        ["chat", "ws://"],
        ["chat", "ws://127.0.0.1:99999/ws"],
        ["admin"],
        ["admin", "dance"],
        ["admin", "ban"],
        ["admin", "--url", "ftp://x", "list"],
    ],
)
def test_bad_arguments_are_one_line_and_status_2(run, argv: list[str]) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert err.startswith("causerie")
    assert err.count("\n") == 1


@pytest.mark.parametrize("program", ["", "serve", "gateway", "worker", "chat", "admin"])
def test_help(run, program: str) -> None:
    status, out, err = run(*[program] * bool(program), "--help")
    assert (status, err) == (0, "")
    assert f"causerie {program}".strip() in out


def test_version(run) -> None:
    assert run("--version") == (0, f"causerie {__version__}\n", "")


def test_a_folder_of_the_users_is_not_a_program_of_ours(tmp_path) -> None:
    for name in ("gateway", "worker", "causerie"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text("print('not ours')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "gateway", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == f"causerie {__version__}\n"
