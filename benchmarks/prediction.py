"""How well the profile predicts an unloaded request, on real devices through the whole system, beside its measurement.

`python -m benchmarks.prediction [ROUNDS]`: four shipped models under four configs, each profiled by the profiler
service and at once served alone; predicted = the profiled stages and the profiled request overhead. Of several rounds
the one with the median ratio is told, for machines whose speed changes while one looks.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpaserve.v1 import model_pb2, placement_pb2, profiler_pb2
from alpaserve_cli.embedded_redis import EmbeddedRedis
from alpaserve_cli.processes import ServiceProcess, start
from alpaserve_client import AsyncClient, PlannerClient, ProfilerClient

from benchmarks.report import table, title
from services.core.model import ModelSource
from services.core.profile import ParallelConfig, Profiles
from services.infra.wire import config_message, source_message, to_profiles
from services.parallel.architectures import open_model

MODELS = ("bert-small", "gpt-small", "moe-small", "wide-resnet-small")
CONFIGS = tuple(ParallelConfig(*shape) for shape in ((1, 1), (2, 1), (1, 2), (2, 2)))
NUM_DEVICES = 4
NUM_WARMUPS = 5
NUM_REQUESTS = 40
NUM_REPEATS = 40
PAUSE_S = 0.05
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Served:
    """A model under a config: seconds that the profile predicts, and the medians of what clients waited, of the time
    in the stages, and of what admission predicted."""

    model: str
    config: ParallelConfig
    predicted_s: float
    measured_s: float
    stages_s: float
    profiled_stages_s: float
    admission_s: float

    @property
    def ratio(self) -> float:
        return self.predicted_s / self.measured_s


@contextmanager
def services(directory: Path) -> Iterator[dict[str, ServiceProcess]]:
    """The whole system, each service a process."""
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis(directory / "redis"))
        env = {
            "ALPASERVE_REDIS_URL": redis.url,
            "ALPASERVE_NUM_DEVICES": str(NUM_DEVICES),
            "ALPASERVE_CACHE_DIR": str(directory / "compiled"),
            "ALPASERVE_NUM_REPEATS": str(NUM_REPEATS),
        }
        running = {}
        for name in ("profiler", "worker", "planner", "router"):
            running[name] = process = start(name, env, directory / f"{name}.log")
            stack.callback(process.stop)
        yield running


def source_of(name: str) -> ModelSource:
    return ModelSource(config=name, seed=7)


def register(running: dict[str, ServiceProcess], name: str) -> None:
    with PlannerClient(running["planner"].address) as planner:
        planner.register_model(model_pb2.Model(name=name, source=source_message(source_of(name))))


def profiled(running: dict[str, ServiceProcess], name: str, config: ParallelConfig) -> Profiles:
    """Profile one config now: the machine at another time may be another one."""
    with ProfilerClient(running["profiler"].address) as profiler:
        for _ in profiler.profile(profiler_pb2.ProfileRequest(model=name, configs=[config_message(config)])):
            pass
        return to_profiles(profiler.get_profile(name))


def place(running: dict[str, ServiceProcess], name: str, config: ParallelConfig) -> None:
    group = placement_pb2.Group(config=config_message(config), devices=range(config.num_devices), models=[name])
    with PlannerClient(running["planner"].address) as planner:
        planner.apply(placement_pb2.Placement(groups=[group]), timeout_s=300)


async def asked(router: str, name: str) -> list[tuple[float, float, float]]:
    """Seconds that a client waited, those in the stages and those predicted, of every request after the warm-ups."""
    inputs = open_model(source_of(name)).example()
    found = []
    async with AsyncClient(router) as client:
        for _ in range(NUM_WARMUPS + NUM_REQUESTS):
            await asyncio.sleep(PAUSE_S)
            began_s = time.perf_counter()
            result = await client.infer(name, inputs)
            waited_s = time.perf_counter() - began_s
            found.append((waited_s, result.execution_time_s, result.predicted_finish_s))
    return found[NUM_WARMUPS:]


def served(running: dict[str, ServiceProcess], profiles: Profiles, name: str, config: ParallelConfig) -> Served:
    place(running, name, config)
    waited_s, stages_s, admission_s = zip(*asyncio.run(asked(running["router"].address, name)), strict=True)
    profiled_s = profiles[name].at(config).latency_s
    return Served(
        model=name,
        config=config,
        predicted_s=profiled_s + profiles.overhead_s(name),
        measured_s=statistics.median(waited_s),
        stages_s=statistics.median(stages_s),
        profiled_stages_s=profiled_s,
        admission_s=statistics.median(admission_s),
    )


def row(found: Served) -> tuple[Any, ...]:
    seconds = (found.predicted_s, found.measured_s, found.profiled_stages_s, found.stages_s, found.admission_s)
    ratios = (found.ratio, found.profiled_stages_s / found.stages_s)
    return (found.model, str(found.config), *(f"{1e3 * value:.2f}" for value in seconds), *map("{:.3f}".format, ratios))


def one_round(running: dict[str, ServiceProcess]) -> list[Served]:
    found = []
    for name in MODELS:
        register(running, name)
        found += [served(running, profiled(running, name, config), name, config) for config in CONFIGS]
    return found


def main() -> None:
    num_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    header = (
        "model",
        "config",
        "predicted ms",
        "measured ms",
        "stages, profiled ms",
        "stages, measured ms",
        "admission predicted ms",
        "predicted / measured",
        "stages, profiled / measured",
    )
    title("Latency of an unloaded request, predicted by its profile and measured; executor: jax")
    with tempfile.TemporaryDirectory() as directory, services(Path(directory)) as running:
        rounds = [one_round(running) for _ in range(num_rounds)]
    found = [sorted(again, key=lambda one: one.ratio)[num_rounds // 2] for again in zip(*rounds, strict=True)]
    table(header, map(row, found))
    worst = max(found, key=lambda one: abs(one.ratio - 1))
    within = sum(abs(one.ratio - 1) <= TOLERANCE for one in found)
    print(
        f"\n{within} of {len(found)} within 10 %; the farthest is {worst.model} on {worst.config}: {worst.ratio:.3f}."
    )


if __name__ == "__main__":
    main()
