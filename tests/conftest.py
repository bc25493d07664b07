"""Real processes for the tests: Redis, and the services over it."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.processes import ServiceProcess, StartingService, launch
from redis.asyncio import Redis

from services.infra.store.connection import connect

# Before anything imports jax: tests of parallel configs need several devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

START_TIMEOUT_S = 120.0


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Redis for the session; whoever needs an empty one starts its own."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """An empty store."""
    client = connect(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@dataclass
class System:
    """Running services over one Redis."""

    redis_url: str
    directory: Path
    stack: ExitStack
    processes: list[ServiceProcess] = field(default_factory=list)
    _num_launched: int = 0

    def start(self, service: str, **settings: object) -> ServiceProcess:
        """Start a service; settings are the names of ALPASERVE_… variables in lower case."""
        return self._serving(self._launched(service, settings))

    def start_together(self, *members: tuple[str, dict[str, object]]) -> list[ServiceProcess]:
        """Start services with their settings side by side."""
        starting = [self._launched(service, settings) for service, settings in members]
        return [self._serving(one) for one in starting]

    def _launched(self, service: str, settings: dict[str, object]) -> StartingService:
        env = {f"ALPASERVE_{name.upper()}": str(value) for name, value in settings.items()}
        log_path = self.directory / f"{service}-{self._num_launched}.log"
        self._num_launched += 1
        starting = launch(service, {"ALPASERVE_REDIS_URL": self.redis_url, **env}, log_path)
        self.stack.callback(starting.child.stop)
        return starting

    def _serving(self, starting: StartingService) -> ServiceProcess:
        process = starting.serving(START_TIMEOUT_S)
        self.processes.append(process)
        return process


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An empty system of the test module's own."""
    directory = tmp_path_factory.mktemp("system")
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis(directory / "redis"))
        yield System(server.url, directory, stack)
