"""Ends a process group when whoever started it is gone: run as a file, it waits for its stdin to
close. One byte on it says that all is over; the end without a word, that the parent died.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Expects the process group."""
    if not sys.stdin.buffer.read(1):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(sys.argv[1]), signal.SIGKILL)


if __name__ == "__main__":
    main()
