"""Entry of `alpaserve`: runs a command and turns its errors into one line and an exit code."""

import sys

from alpaserve_cli.app import app
from alpaserve_cli.failures import CommandError

_FAILED = 1
_BAD_INPUT = 2


def main() -> None:
    """Run the command line of this process and exit: 2 for input that cannot be used, else 1."""
    try:
        app()
    except Exception as error:
        exit_code = exit_code_of(error)
        if exit_code is None:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(exit_code)


def exit_code_of(error: Exception) -> int | None:
    """None for what is no error of the user or the services, but a fault of ours."""
    # A command that ends well needs neither, and gRPC takes a while to import.
    from alpaserve_client import AlpaServeClientError

    from services.core.errors import AlpaServeError, InvalidArgument

    if isinstance(error, InvalidArgument):
        return _BAD_INPUT
    return _FAILED if isinstance(error, AlpaServeError | AlpaServeClientError | CommandError) else None


if __name__ == "__main__":
    main()
