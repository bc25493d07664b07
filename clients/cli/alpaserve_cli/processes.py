"""The services as processes of this machine: start one, wait until it serves, stop it."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alpaserve_cli.children import ChildProcess, start_child
from alpaserve_cli.failures import CommandError

_POLL_S = 0.02
_TAIL_LINES = 15


class ServiceStartError(CommandError):
    """A service did not come to serve; the message ends with the tail of its log."""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A service that serves at `address`, and the log file it writes to."""

    service: str
    address: str
    log_path: Path
    child: ChildProcess

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def has_exited(self) -> bool:
        return self.child.has_exited

    def stop(self, timeout_s: float = 30.0) -> int:
        """Let it drain and end, at most `timeout_s` seconds; the exit status."""
        return self.child.stop(timeout_s)

    def kill(self) -> int:
        """End it at once, as a crash would; the exit status."""
        return self.child.kill()


@dataclass(frozen=True, slots=True)
class StartingService:
    """A service that was launched; `serving` or `child.kill` must follow."""

    service: str
    log_path: Path
    log_offset: int
    child: ChildProcess

    def serving(self, timeout_s: float) -> ServiceProcess:
        """Wait until it serves.

        Raises: ServiceStartError if it ends before or takes longer than `timeout_s` seconds; it
        is killed then.
        """
        try:
            address = self._wait_for_address(timeout_s)
        except BaseException:
            self.child.kill()
            raise
        return ServiceProcess(self.service, address, self.log_path, self.child)

    def _wait_for_address(self, timeout_s: float) -> str:
        give_up_at = time.monotonic() + timeout_s
        while True:
            has_exited = self.child.has_exited
            address = _serving_address(self.log_path, self.log_offset)
            if address:
                return address
            if has_exited:
                raise self._failure("ended before it served")
            if time.monotonic() >= give_up_at:
                raise self._failure(f"did not serve in {timeout_s:g} s")
            time.sleep(_POLL_S)

    def _failure(self, what: str) -> ServiceStartError:
        return ServiceStartError(f"the {self.service} {what}\n{log_tail(self.log_path, self.log_offset)}")


def launch(service: str, env: Mapping[str, str], log_path: Path) -> StartingService:
    """Run `services.<service>`, or the module that a name with a dot is, with `env` over this process's own, and do
    not wait for it."""
    module = service if "." in service else f"services.{service}"
    log_offset = log_path.stat().st_size if log_path.exists() else 0
    child = start_child([sys.executable, "-P", "-m", module], log_path, env=env)
    return StartingService(service, log_path, log_offset, child)


def start(service: str, env: Mapping[str, str], log_path: Path, *, timeout_s: float = 120.0) -> ServiceProcess:
    """Launch a service and wait until it serves.

    Raises: ServiceStartError if it ends before or takes longer than `timeout_s` seconds.
    """
    return launch(service, env, log_path).serving(timeout_s)


def _serving_address(log_path: Path, offset: int) -> str:
    """The address of the line with the event `serving`; empty while there is none."""
    for line in _read_from(log_path, offset).splitlines():
        if '"serving"' not in line:
            continue
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("event") == "serving":
            return str(record["address"])
    return ""


def log_tail(log_path: Path, offset: int = 0) -> str:
    """The last lines of a log, from a byte offset on."""
    return "\n".join(_read_from(log_path, offset).splitlines()[-_TAIL_LINES:])


def _read_from(log_path: Path, offset: int) -> str:
    with log_path.open("rb") as log:
        log.seek(offset)
        return log.read().decode(errors="replace")
