"""How every command connects: the options of `alpaserve` itself, else the environment, which its children share."""

from alpaserve_client import ConnectionOptions

from alpaserve_cli.failures import CommandError


def connection() -> ConnectionOptions:
    """Raises: CommandError for files that are not what they should be."""
    try:
        return ConnectionOptions.from_environment()
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
