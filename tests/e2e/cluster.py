"""A whole running system, and the models that its tests serve."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from alpaserve.v1 import model_pb2, placement_pb2, planner_pb2, profiler_pb2_grpc, router_pb2_grpc
from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.processes import ServiceProcess
from alpaserve_client import AsyncClient, ConnectionOptions, PlannerClient
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis

from services.infra.store import keys
from tests.conftest import System
from tests.e2e.scraping import Metrics

MEMORY_BYTES = 16_000_000_000
NUM_DEVICES = 8
PROFILES = Path(__file__).parents[2] / "services/profiler/data/v100.json"
NO_RETRIES = ConnectionOptions(num_retries=0)


def quick_profiles() -> dict[str, Any]:
    """Two models that run 20 ms and 1.5 s under every config, in stages that are alike."""
    shapes = ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (1, 4))
    return {
        "schema": "alpaserve.profiles/v1",
        "stage_latency_factor_per_stage": 0.009,
        "models": [
            {
                "model": name,
                "profiles": [
                    {
                        "inter_op": inter_op,
                        "intra_op": intra_op,
                        "batch_size": 1,
                        "stage_latency_s": [latency_s / inter_op] * inter_op,
                        "stage_weight_bytes": [3_000_000_000 // (inter_op * intra_op)] * inter_op,
                    }
                    for inter_op, intra_op in shapes
                ],
            }
            for name, latency_s in (("quick", 0.02), ("slow", 1.5))
        ],
    }


def model(name: str, profile: str = "quick", **fields: Any) -> model_pb2.Model:
    return model_pb2.Model(name=name, profile=profile, **fields)


def slo(seconds: float) -> model_pb2.ServiceLevel:
    whole = int(seconds)
    return model_pb2.ServiceLevel(slo=duration_pb2.Duration(seconds=whole, nanos=round((seconds - whole) * 1e9)))


def group(inter_op: int, intra_op: int, devices: Sequence[int], *models: str) -> placement_pb2.Group:
    config = model_pb2.ParallelConfig(inter_op=inter_op, intra_op=intra_op)
    return placement_pb2.Group(config=config, devices=devices, models=models)


@dataclass(frozen=True)
class Cluster:
    """Redis, a worker, a planner with its page, and routers, and the ways to them."""

    redis: EmbeddedRedis
    system: System
    worker: ServiceProcess
    planner: ServiceProcess
    routers: tuple[ServiceProcess, ...]
    page: str
    stack: ExitStack
    metrics: Metrics

    def process(self, service: str) -> ServiceProcess:
        """The first process of a service, by the service's name in the contract."""
        return next(process for process in self.system.processes if process.service == service.lower())

    def channel(self, process: ServiceProcess) -> grpc.Channel:
        return self.stack.enter_context(grpc.insecure_channel(process.address))

    @property
    def planning(self) -> PlannerClient:
        return self.stack.enter_context(PlannerClient(self.planner.address))

    def profiling(self) -> profiler_pb2_grpc.ProfilerStub:
        return profiler_pb2_grpc.ProfilerStub(self.channel(self.process("Profiler")))

    def routing(self, index: int = 0) -> router_pb2_grpc.RouterStub:
        return router_pb2_grpc.RouterStub(self.channel(self.routers[index]))

    def health(self, process: ServiceProcess) -> health_pb2_grpc.HealthStub:
        return health_pb2_grpc.HealthStub(self.channel(process))

    def is_serving(self, process: ServiceProcess) -> bool:
        answer = self.health(process).Check(health_pb2.HealthCheckRequest(), timeout=10)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def client(self, index: int = 0) -> AsyncClient:
        """A client that tries every call once."""
        return AsyncClient(self.routers[index].address, NO_RETRIES)

    def register(self, *models: model_pb2.Model) -> None:
        for one in models:
            self.planning.register_model(one)

    def apply(self, *groups: placement_pb2.Group, dispatch: str = "") -> planner_pb2.ApplyPlanResponse:
        return self.planning.apply(placement_pb2.Placement(groups=groups, dispatch=dispatch), timeout_s=60)

    def placement(self) -> placement_pb2.Placement:
        return self.planning.placement().placement


@contextmanager
def running_cluster(
    directory: Path, num_routers: int, profiles: dict[str, Any], **worker_settings: object
) -> Iterator[Cluster]:
    """Processes with these profiles in store."""
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis(directory / "redis"))
        system = System(redis.url, directory, stack)
        metrics = Metrics()
        store_profiles(redis.url, profiles)
        page_port, metrics_port = free_port(), metrics.new_port("planner")
        routers = [f"r{index}" for index in range(num_routers)]
        worker, planner, *routing = system.start_together(
            ("worker", {"metrics_port": metrics.new_port("worker"), **worker_settings}),
            ("planner", {"heal_every_s": 0.2, "page_port": page_port, "metrics_port": metrics_port}),
            *(("router", {"router_name": name, "metrics_port": metrics.new_port(name)}) for name in routers),
        )
        yield Cluster(
            redis=redis,
            system=system,
            worker=worker,
            planner=planner,
            page=f"http://127.0.0.1:{page_port}",
            routers=tuple(routing),
            stack=stack,
            metrics=metrics,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def store_profiles(redis_url: str, document: dict[str, Any]) -> None:
    """Store profiles as a profiler would, one document per model."""
    with Redis.from_url(redis_url) as redis:
        for one in document["models"]:
            redis.hset(keys.PROFILES, one["model"], json.dumps({**document, "models": [one]}))
