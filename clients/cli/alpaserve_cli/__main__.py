"""Entry of `alpaserve`: runs a command and turns its errors into one line and an exit code."""

import sys

from alpaserve_client import AlpaServeClientError

from alpaserve_cli.app import app
from alpaserve_cli.failures import CommandError
from services.core.errors import AlpaServeError, InvalidArgument

_FAILED = 1
_BAD_INPUT = 2


def main() -> None:
    """Run the command line of this process and exit: 2 for input that cannot be used, else 1."""
    try:
        app()
    except InvalidArgument as error:
        _fail(error, _BAD_INPUT)
    except (AlpaServeError, AlpaServeClientError, CommandError) as error:
        _fail(error, _FAILED)


def _fail(error: Exception, exit_code: int) -> None:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
