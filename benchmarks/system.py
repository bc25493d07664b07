"""The whole real system for a benchmark: every service a process, its logs kept until the end."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.processes import ServiceProcess, start

SERVING = ("worker", "planner", "router")


@contextmanager
def running(settings: Mapping[str, object], names: tuple[str, ...] = SERVING) -> Iterator[dict[str, ServiceProcess]]:
    """Processes by name; `settings` are those of the services, without their prefix."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(EmbeddedRedis(directory / "redis"))
        given = {"redis_url": redis.url, "cache_dir": directory / "compiled", **settings}
        env = {f"ALPASERVE_{name.upper()}": str(value) for name, value in given.items()}
        found = {}
        for name in names:
            found[name] = process = start(name, env, directory / f"{name}.log")
            stack.callback(process.stop)
        try:
            yield found
        except Exception:
            _tell_errors(directory)
            raise


def _tell_errors(directory: Path) -> None:
    """What the services logged as errors: their answers say only that something inside failed."""
    for path in sorted(directory.glob("*.log")):
        for line in path.read_text().splitlines():
            if '"level": "error"' in line or not line.startswith("{"):
                print(f"{path.stem}: {line}", file=sys.stderr)
