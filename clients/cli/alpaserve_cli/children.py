"""Child processes that leave nothing behind: each leads a session of its own, writes to a log
file, and dies with this process, however it ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from alpaserve_cli import guard

_POLL_S = 0.02


class ChildProcess:
    """A running command; `stop` or `kill` must be called, whatever became of it.

    It is not reaped before, so its process id stays its own and a signal never hits a stranger.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._guard = _start_guard(process.pid)
        self.pid = process.pid

    @property
    def has_exited(self) -> bool:
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within the time."""
        give_up_at = time.monotonic() + timeout_s
        while not self.has_exited:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(_POLL_S)
        return True

    def terminate(self) -> None:
        """Ask it to end (SIGTERM); returns at once."""
        if not self.has_exited:
            os.kill(self.pid, signal.SIGTERM)

    def stop(self, timeout_s: float = 30.0) -> int:
        """Ask it to end, kill what is left of its process group after the time; the exit status."""
        self.terminate()
        self.wait(timeout_s)
        return self.kill()

    def kill(self) -> int:
        """Kill it and its process group at once; the exit status."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._guard.communicate(b".")
        return self._process.wait()


def _start_guard(group: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", guard.__file__, str(group)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def start_child(
    command: Sequence[str], log_path: Path, *, env: Mapping[str, str] | None = None, stdin: bytes = b""
) -> ChildProcess:
    """Run a command with its output appended to a log file and `env` laid over this process's own."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    child = ChildProcess(process)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin)
    return child
