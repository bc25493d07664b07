"""What ends a command, beside what the services and the pure part raise."""


class CommandError(Exception):
    """The message is what the user reads."""
