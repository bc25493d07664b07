"""The demo's processes, and what it asks of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alpaserve.v1 import model_pb2, planner_pb2, profiler_pb2
from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.processes import ServiceProcess, start
from alpaserve_cli.wire import workload_message
from alpaserve_client import PlannerClient, ProfilerClient
from rich.console import Console
from scenario import (
    CONFIGS,
    MEMORY_BYTES,
    MODELS,
    NUM_DEVICES,
    PROFILE,
    SEQUENCE_LENGTH,
    SLO_SCALE,
    checkpoint,
)

from services.core.profile import Profiles
from services.core.workload import Workload
from services.infra.wire import config_message, to_profiles

CACHE_DIR = Path(".alpaserve/demo-cache")
LIVE_WINDOW_S = 10


@dataclass(frozen=True, slots=True)
class System:
    """Addresses of what runs."""

    planner: str
    profiler: str
    router: str


@contextmanager
def control_plane(directory: Path) -> Iterator[tuple[System, dict[str, str]]]:
    """Redis, planner, profiler and router, each a process; gives the environment for workers too."""
    with EmbeddedRedis(directory / "redis") as redis:
        shared = {"ALPASERVE_REDIS_URL": redis.url, "ALPASERVE_CACHE_DIR": str(CACHE_DIR.absolute())}
        devices = {"ALPASERVE_NUM_DEVICES": str(NUM_DEVICES), "ALPASERVE_MEMORY_BYTES": str(MEMORY_BYTES)}
        env = shared | devices
        with (
            service("planner", env, directory) as planner,
            service("profiler", env, directory) as profiler,
            service("router", env, directory) as router,
        ):
            yield System(planner.address, profiler.address, router.address), env


@contextmanager
def worker(executor: str, env: dict[str, str], directory: Path) -> Iterator[ServiceProcess]:
    """A worker whose devices run models (jax) or only take the time (emulated)."""
    settings = {"ALPASERVE_EXECUTOR": executor, "ALPASERVE_WORKER_NAME": executor}
    with service("worker", env | settings, directory, f"worker-{executor}") as process:
        yield process


@contextmanager
def service(name: str, env: dict[str, str], directory: Path, log: str = "") -> Iterator[ServiceProcess]:
    process = start(name, env, directory / f"{log or name}.log")
    try:
        yield process
    finally:
        process.stop()


def register_models(planner: PlannerClient) -> None:
    source = model_pb2.ModelSource(checkpoint=str(checkpoint()), sequence_length=SEQUENCE_LENGTH)
    for name in MODELS:
        level = model_pb2.ServiceLevel(slo_scale=SLO_SCALE)
        planner.register_model(model_pb2.Model(name=name, profile=PROFILE, source=source, service_level=level))


def measure_model(profiler: ProfilerClient, console: Console) -> Profiles:
    """Profile the one architecture that all models share."""
    request = profiler_pb2.ProfileRequest(model=MODELS[0], configs=[config_message(config) for config in CONFIGS])
    for response in profiler.profile(request):
        if response.WhichOneof("event") == "measured":
            stage = response.measured
            latencies = " + ".join(f"{1e3 * latency:.1f}" for latency in stage.stage_latency_s)
            config = f"{stage.config.inter_op}x{stage.config.intra_op}"
            console.print(
                f"  {config}: stages of {latencies} ms, {max(stage.stage_weight_bytes) / 1e6:.0f} MB a device"
            )
    return to_profiles(profiler.get_profile(PROFILE))


def plan(
    planner: PlannerClient, workload: Workload | None, seed: int
) -> tuple[planner_pb2.PlanFound, planner_pb2.PlacementApplied]:
    """Plan for a workload, or for the live arrivals, and apply; returns when the placement runs."""
    request = planner_pb2.PlanRequest(seed=seed)
    request.time_budget.seconds = 3
    if workload is None:
        request.workload.live.duration.seconds = LIVE_WINDOW_S
    else:
        request.workload.CopyFrom(workload_message(workload))
    found: planner_pb2.PlanFound | None = None
    for response in planner.plan(request):
        if response.WhichOneof("event") == "plan":
            found = response.plan
        elif response.WhichOneof("event") == "applied" and found is not None:
            return found, response.applied
    raise RuntimeError("the planner ended without applying a plan")
