"""Keeps a set of services running on this machine: started side by side, restarted when they die,
stopped in order."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.failures import CommandError
from alpaserve_cli.processes import ServiceProcess, launch

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_STABLE_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """One service to run under a `name` of its own; `env` is laid over this process's."""

    name: str
    service: str
    env: Mapping[str, str]
    start_timeout_s: float = 120.0


class Backoff:
    """When something that died may start again: at once if it ran for a minute, else after doubling pauses."""

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._started_s = -_STABLE_AFTER_S
        self._due_s: float | None = None

    def note_start(self, now_s: float) -> None:
        self._started_s = now_s
        self._due_s = None

    def is_due(self, now_s: float) -> bool:
        """Whether the dead may start; the first question sets the time."""
        if self._due_s is None:
            stable = now_s - self._started_s >= _STABLE_AFTER_S
            self._pause_s = 0.0 if stable else min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            self._due_s = now_s + self._pause_s
        return now_s >= self._due_s


@dataclass(slots=True)
class _Running:
    member: Member
    process: ServiceProcess
    backoff: Backoff = field(default_factory=Backoff)

    def restart(self) -> None:
        """At the same address, without waiting for it: another death is another restart."""
        self.process.kill()
        port = self.process.address.rpartition(":")[2]
        env = {**self.member.env, "ALPASERVE_PORT": port}
        child = launch(self.member.service, env, self.process.log_path).child
        self.process = replace(self.process, child=child)


class Supervisor:
    """Owns its services from `start_all` to `stop_all`; not for several threads."""

    def __init__(self, log_dir: Path, redis: EmbeddedRedis | None) -> None:
        self._log_dir = log_dir
        self._redis = redis
        self._redis_backoff = Backoff()
        self._running: list[_Running] = []

    def start_all(self, members: Sequence[Member]) -> dict[str, ServiceProcess]:
        """Start them side by side, beside those that run, and wait until all serve; the processes by name.

        Raises: ServiceStartError. What had started then still needs `stop_all`.
        """
        first = len(self._running)
        starting = [launch(member.service, member.env, self._log_dir / f"{member.name}.log") for member in members]
        try:
            for member, service in zip(members, starting, strict=True):
                running = _Running(member, service.serving(member.start_timeout_s))
                running.backoff.note_start(time.monotonic())
                self._running.append(running)
        except BaseException:
            for service in starting[len(self._running) - first :]:
                service.child.kill()
            raise
        return {running.member.name: running.process for running in self._running[first:]}

    def pids(self) -> dict[str, int]:
        """The processes that run now, by name."""
        return {running.member.name: running.process.pid for running in self._running}

    def revive(self) -> Iterator[str]:
        """Restart what died and is due; a line for each. Call it over and over."""
        now_s = time.monotonic()
        if self._redis is not None and self._redis.has_exited and self._redis_backoff.is_due(now_s):
            yield self._revive_redis(self._redis, now_s)
        for running in self._running:
            if running.process.has_exited and running.backoff.is_due(now_s):
                running.restart()
                running.backoff.note_start(now_s)
                yield f"the {running.member.name} died and was restarted"

    def stop_all(self, drain_s: float) -> None:
        """Stop routers first and Redis last, each when the one before is gone."""
        try:
            for running in reversed(self._running):
                running.process.stop(drain_s)
        finally:
            for running in self._running:
                running.process.kill()
            self._running.clear()
            if self._redis is not None:
                self._redis.stop()

    def _revive_redis(self, redis: EmbeddedRedis, now_s: float) -> str:
        self._redis_backoff.note_start(now_s)
        redis.kill()
        try:
            redis.start()
        except CommandError as error:
            return f"Redis died and did not come back: {error}"
        return "Redis died and was restarted"
