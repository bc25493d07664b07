"""How well the profile predicts an unloaded request, on real devices through the whole system, beside its measurement.

`python -m benchmarks.prediction [--models NAME…] [--write FILE]`: four shipped models under four configs, profiled,
then each served alone. The speed of a host that others share changes by the second: so the profiler's own bench, with
the same config loaded, takes one request whenever the service has taken one, and what is predicted from these (stages
and overhead, medians as the profiler takes them) is held against what the service's clients waited. FILE gets the
profiles.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alpaserve.v1 import model_pb2, placement_pb2, profiler_pb2
from alpaserve_cli.processes import ServiceProcess
from alpaserve_client import AsyncClient, PlannerClient, ProfilerClient

from benchmarks.report import machine, table, title
from benchmarks.system import SERVING, running_system
from services.core.model import ModelSource
from services.core.profile import ParallelConfig, Profiles
from services.core.profile_documents import profiles_document
from services.core.profile_sets import combined
from services.infra.ray_cluster import LOCAL, answer, joined_cluster
from services.infra.wire import config_message, source_message, to_profiles
from services.parallel.architectures import open_model
from services.profiler.bench import Trial
from services.profiler.benches import Benches
from services.profiler.path import Tensors
from services.profiler.settings import ProfilerSettings

MODELS = ("bert-small", "gpt-small", "moe-small", "wide-resnet-small")
CONFIGS = tuple(ParallelConfig(*shape) for shape in ((1, 1), (2, 1), (1, 2), (2, 2)))
NUM_DEVICES = 4
NUM_WARMUPS = 5
NUM_REPEATS = 60
MEMORY_BYTES = 2**30
PAUSE_S = 0.05
TOLERANCE = 0.1
Services = dict[str, ServiceProcess]


@dataclass(frozen=True, slots=True)
class Request:
    """Seconds that its client waited, that it spent in stages, and that admission predicted."""

    waited_s: float
    stages_s: float
    admission_s: float


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


def source_of(name: str) -> ModelSource:
    return ModelSource(config=name, seed=7)


def register(services: Services, name: str) -> None:
    with PlannerClient(services["planner"].address) as planner:
        planner.register_model(model_pb2.Model(name=name, source=source_message(source_of(name))))


def profiled(services: Services, name: str) -> Profiles:
    order = profiler_pb2.ProfileRequest(model=name, configs=map(config_message, CONFIGS), num_repeats=NUM_REPEATS)
    with ProfilerClient(services["profiler"].address) as profiler:
        for _ in profiler.profile(order):
            pass
        return to_profiles(profiler.get_profile(name))


def place(services: Services, name: str, config: ParallelConfig) -> None:
    group = placement_pb2.Group(config=config_message(config), devices=range(config.num_devices), models=[name])
    with PlannerClient(services["planner"].address) as planner:
        planner.apply(placement_pb2.Placement(groups=[group]), timeout_s=300)


@asynccontextmanager
async def bench(redis_url: str, profiles: Profiles, name: str, config: ParallelConfig) -> AsyncIterator[str]:
    """The profiler's, with the config loaded as it was profiled; the address of the relay that leads to it."""
    stage, costs = profiles[name].at(config), profiles.costs_of(name)
    if costs is None:
        raise SystemExit(f"the profile of {name} tells no device costs")
    settings = ProfilerSettings(redis_url=redis_url)
    async with joined_cluster(LOCAL, settings.ray_object_store_bytes):
        benches = Benches(settings, "cpu")
        place = await benches.open(config.num_devices)
        trial = Trial(source_of(name), config, stage.boundaries, (1,), costs, MEMORY_BYTES)
        await answer(place.bench.load.remote(trial))
        yield place.relay


async def asked(client: AsyncClient, name: str, inputs: Tensors) -> Request:
    await asyncio.sleep(PAUSE_S)
    began_s = time.perf_counter()
    result = await client.infer(name, inputs)
    return Request(time.perf_counter() - began_s, result.execution_time_s, result.predicted_finish_s)


async def in_turn(addresses: Sequence[str], name: str) -> list[list[Request]]:
    """Requests to each of the addresses, one at a time and taking turns; the first ones do not count."""
    inputs = open_model(source_of(name)).example()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(address)) for address in addresses]
        rounds = [[await asked(client, name, inputs) for client in clients] for _ in range(NUM_WARMUPS + NUM_REPEATS)]
    return [list(requests) for requests in zip(*rounds[NUM_WARMUPS:], strict=True)]


async def served(services: Services, redis_url: str, profiles: Profiles, name: str, config: ParallelConfig) -> Served:
    async with bench(redis_url, profiles, name, config) as relay:
        benched, requests = await in_turn((relay, services["router"].address), name)
    stages_s = statistics.median(request.stages_s for request in benched)
    return Served(
        model=name,
        config=config,
        predicted_s=stages_s + statistics.median(request.waited_s - request.stages_s for request in benched),
        measured_s=statistics.median(request.waited_s for request in requests),
        stages_s=statistics.median(request.stages_s for request in requests),
        profiled_stages_s=stages_s,
        admission_s=statistics.median(request.admission_s for request in requests),
    )


def row(found: Served) -> tuple[Any, ...]:
    seconds = (found.predicted_s, found.measured_s, found.profiled_stages_s, found.stages_s, found.admission_s)
    ratios = (found.ratio, found.profiled_stages_s / found.stages_s)
    return (found.model, str(found.config), *(f"{1e3 * value:.2f}" for value in seconds), *map("{:.3f}".format, ratios))


def rows(services: Services, redis_url: str, models: Sequence[str]) -> Iterator[Served]:
    for name in models:
        register(services, name)
        profiles = profiled(services, name)
        for config in CONFIGS:
            place(services, name, config)
            yield asyncio.run(served(services, redis_url, profiles, name, config))


def write_profiles(services: Services, models: Sequence[str], path: Path) -> None:
    with ProfilerClient(services["profiler"].address) as profiler:
        profiles = combined([to_profiles(profiler.get_profile(name)) for name in models])
    path.write_text(json.dumps(profiles_document(replace(profiles, note=machine())), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
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
    found = []
    with running_system({"num_devices": NUM_DEVICES}, ("profiler", *SERVING)) as system:
        for one in rows(system.processes, system.redis_url, given.models):
            found.append(one)
            print(*row(one), file=sys.stderr, flush=True)
        if given.write:
            write_profiles(system.processes, given.models, given.write)
    table(header, map(row, found))
    worst = max(found, key=lambda one: abs(one.ratio - 1))
    within = sum(abs(one.ratio - 1) <= TOLERANCE for one in found)
    print(
        f"\n{within} of {len(found)} within 10 %; the farthest is {worst.model} on {worst.config}: {worst.ratio:.3f}."
    )


if __name__ == "__main__":
    main()
