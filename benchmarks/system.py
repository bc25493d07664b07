"""The whole real system for a benchmark: every service a process, its logs kept until the end."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.processes import ServiceProcess, start

SERVING = ("worker", "planner", "router")


@dataclass(frozen=True, slots=True)
class System:
    """What runs: a Redis, and processes by name."""

    redis_url: str
    processes: dict[str, ServiceProcess]

    @property
    def routers(self) -> tuple[ServiceProcess, ...]:
        return tuple(process for process in self.processes.values() if process.service == "router")


@contextmanager
def running(settings: Mapping[str, object], names: tuple[str, ...] = SERVING) -> Iterator[dict[str, ServiceProcess]]:
    """Processes by name; `settings` are those of the services, without their prefix."""
    with running_system(settings, names) as system:
        yield system.processes


@contextmanager
def running_system(
    settings: Mapping[str, object],
    names: tuple[str, ...] = SERVING,
    router_settings: Mapping[str, object] | None = None,
) -> Iterator[System]:
    """The same with its Redis. Of services that run more than once the names end in numbers: `router-2`; routers alone
    have `router_settings`."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(EmbeddedRedis(directory / "redis"))
        common = {"redis_url": redis.url, "cache_dir": directory / "compiled", **settings}
        system = System(redis.url, {})
        for name in names:
            service = name.partition("-")[0]
            own = common | dict(router_settings or {}) if service == "router" else common
            env = {f"ALPASERVE_{key.upper()}": str(value) for key, value in own.items()}
            system.processes[name] = process = start(service, env, directory / f"{name}.log")
            stack.callback(process.stop)
        try:
            yield system
        except Exception:
            _tell_errors(directory)
            raise


def serving_with(num_routers: int) -> tuple[str, ...]:
    """The names of what serves through so many routers."""
    return ("worker", "planner", *(f"router-{number}" for number in range(1, num_routers + 1)))


def _tell_errors(directory: Path) -> None:
    """What the services logged as errors: their answers say only that something inside failed."""
    for path in sorted(directory.glob("*.log")):
        for line in path.read_text().splitlines():
            if '"level": "error"' in line or not line.startswith("{"):
                print(f"{path.stem}: {line}", file=sys.stderr)
