"""`python -m gateway`: wiring only."""

import sys

from causerie import logs
from causerie.settings import from_command_line


def main() -> int:
    """Run a gateway until it is stopped; return its exit status."""
    settings = from_command_line(sys.argv[1:], "causerie gateway")
    logs.configure(settings.log_level)
    from gateway.server import run

    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
