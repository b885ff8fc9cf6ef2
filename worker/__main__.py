"""`python -m worker`: wiring only."""

import sys

from causerie import logs
from causerie.settings import from_command_line


def main() -> int:
    """Run a worker until it is stopped; return its exit status."""
    settings = from_command_line(sys.argv[1:], "causerie worker")
    logs.configure(settings.log_level)
    from worker.runner import run

    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
