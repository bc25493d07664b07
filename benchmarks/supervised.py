"""The whole system as processes under the supervisor of `alpaserve up`: two emulated workers, one of them behind a
network that can be cut, and two routers."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from alpaserve.v1 import model_pb2, placement_pb2
from alpaserve_cli.addresses import free_port
from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.health import wait_until_healthy
from alpaserve_cli.processes import ServiceProcess
from alpaserve_cli.ray_host import with_ray
from alpaserve_cli.supervisor import Member, Supervisor
from alpaserve_client import AlpaServeClientError, ConnectionOptions, PlannerClient
from redis.asyncio import Redis

from benchmarks.recorded_devices import RECORD
from benchmarks.relay import Relay
from services.core.deployment import Deployment
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile
from services.infra.background import background, repeating
from services.infra.probe import is_serving
from services.infra.store.connection import OUTAGES, connect
from services.infra.store.placements import PlacementStore
from services.infra.store.registry import ProfileStore

LATENCY_S = 0.02
ALONE = ParallelConfig(1, 1)
PROFILE = ModelProfile("quick", (StageProfile(ALONE, 1, (LATENCY_S,), (10**9,), (1,), "imported", ""),))
WORKER = "benchmarks.recorded_worker"
FRONT = "127.0.0.2"
ASKED_ONCE = ConnectionOptions(num_retries=0, timeout_s=2.0)
# Whoever restarts something is given up after so long.
WHOLE_S = 60.0


@dataclass
class Supervised:
    """What runs, by the names of the supervisor's members."""

    directory: Path
    redis: EmbeddedRedis
    supervisor: Supervisor
    relay: Relay
    processes: dict[str, ServiceProcess] = field(default_factory=dict)

    @property
    def routers(self) -> tuple[str, ...]:
        return tuple(self.processes[name].address for name in ("router", "router-2"))

    @property
    def record(self) -> Path:
        return self.directory / "record"

    def pid(self, name: str) -> int:
        return self.redis.pid if name == "redis" else self.supervisor.pids()[name]

    def leader_pid(self, worker: str) -> int:
        """The process that leads the groups of a worker."""
        lines = self.processes[worker].log_path.read_text().splitlines()
        started = [json.loads(line) for line in lines if '"leader_started"' in line]
        return int(started[-1]["pid"])

    async def supervise(self) -> None:
        """Revive what dies, off the loop."""
        async for _ in repeating(0.1):
            for line in await asyncio.to_thread(lambda: list(self.supervisor.revive())):
                print(line, file=sys.stderr, flush=True)

    async def follow(self) -> None:
        """Let routers through to the leaders of the worker behind the relay, wherever they listen."""
        async with connect(self.redis.url) as redis:
            async for _ in repeating(0.02):
                with suppress(*OUTAGES):
                    await self._let_through(await PlacementStore(redis).current())

    async def _let_through(self, deployment: Deployment) -> None:
        for group in deployment.groups:
            host, _, port = group.address.rpartition(":")
            if host == FRONT:
                await self.relay.open(int(port))

    async def is_whole(self) -> bool:
        """Whether every service serves, every worker and group is alive, and the store takes what is written."""
        for process in self.processes.values():
            if not await asyncio.to_thread(is_serving, process.address):
                return False
        return await asyncio.to_thread(self._plans)

    def _plans(self) -> bool:
        try:
            with PlannerClient(self.processes["planner"].address, ASKED_ONCE) as planner:
                planner.register_model(model("fast"))
                status = planner.status()
        except AlpaServeClientError:
            return False
        return len(status.workers) == 2 and len(status.groups) == 4 and all(group.is_alive for group in status.groups)

    async def whole(self) -> None:
        """Raises: TimeoutError if the system does not become whole."""
        async with asyncio.timeout(WHOLE_S):
            async for _ in repeating(0.05):
                if await self.is_whole():
                    return


def model(name: str) -> model_pb2.Model:
    """`fast` and `once` are placed on both workers, `left` and `right` on one each; `once` and `right` may not be
    repeated."""
    return model_pb2.Model(name=name, profile="quick", idempotent=name in ("fast", "left"))


def members(directory: Path, url: str, port: int) -> list[Member]:
    shared = {"ALPASERVE_REDIS_URL": url, "ALPASERVE_LOG_LEVEL": "info", "PYTHONPATH": str(Path.cwd())}
    devices = {"ALPASERVE_EXECUTOR": "emulated", "ALPASERVE_NUM_DEVICES": "2", RECORD: str(directory / "record")}
    devices |= {"ALPASERVE_MEMORY_BYTES": str(4 * 10**9)}
    behind = {"ALPASERVE_WORKER_NAME": "right", "ALPASERVE_ADVERTISE_HOST": FRONT, "ALPASERVE_PORT": str(port)}
    return [
        Member("planner", "planner", shared),
        Member("left", WORKER, shared | devices | {"ALPASERVE_WORKER_NAME": "left"}),
        Member("right", WORKER, shared | devices | behind),
        Member("profiler", "profiler", shared | devices),
        Member("router", "router", shared),
        Member("router-2", "router", shared),
    ]


@asynccontextmanager
async def supervised(directory: Path) -> AsyncIterator[Supervised]:
    """Runs, with four models placed on four groups."""
    redis = EmbeddedRedis(directory / "redis")
    async with Relay(FRONT) as relay:
        supervisor = Supervisor(directory / "logs", redis)
        try:
            url, port = redis.start(), free_port()
            await relay.open(port)
            system = Supervised(directory, redis, supervisor, relay)
            services = {member.name: member for member in members(directory, url, port)}
            hosts, joining = zip(*(with_ray(services[name]) for name in ("left", "right")), strict=True)
            services |= {member.name: member for member in joining}
            await asyncio.to_thread(supervisor.start_all, hosts)
            system.processes = await asyncio.to_thread(supervisor.start_all, list(services.values()))
            for process in system.processes.values():
                await asyncio.to_thread(wait_until_healthy, process.address, 30.0)
            async with background(system.supervise(), system.follow()):
                await place(system)
                await system.whole()
                yield system
        finally:
            supervisor.stop_all(5.0)


async def place(system: Supervised) -> None:
    async with Redis.from_url(system.redis.url) as redis:
        await ProfileStore(redis).put(Profiles({"quick": PROFILE}))
    with PlannerClient(system.processes["planner"].address) as planner:
        status = await asyncio.to_thread(planner.status)
        first = {worker.name: worker.first_device for worker in status.workers}
        for name in ("fast", "once", "left", "right"):
            await asyncio.to_thread(planner.register_model, model(name))
        groups = [
            placement_pb2.Group(
                config=model_pb2.ParallelConfig(inter_op=1, intra_op=1), devices=[first[worker] + n], models=models
            )
            for worker in ("left", "right")
            for n, models in enumerate((("fast", "once"), (worker,)))
        ]
        await asyncio.to_thread(planner.apply, placement_pb2.Placement(groups=groups), timeout_s=60)
