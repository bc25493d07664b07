"""How well the profile predicts an unloaded request, on real devices through the whole system, beside its measurement.

`python -m benchmarks.prediction [--rounds N] [--write FILE]`: four shipped models under four configs, each served alone
and profiled by the profiler service again meanwhile, so that both meet a host whose speed changes by the second;
predicted = the profiled stages and the profiled request overhead. Of several rounds the one with the median ratio is
told. The last round's profiles are written to FILE.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alpaserve.v1 import model_pb2, placement_pb2, profiler_pb2
from alpaserve_cli.processes import ServiceProcess
from alpaserve_client import AsyncClient, PlannerClient, ProfilerClient

from benchmarks.report import machine, table, title
from benchmarks.system import SERVING, running
from services.core.model import ModelSource
from services.core.profile import ParallelConfig, Profiles
from services.core.profile_documents import profiles_document
from services.core.profile_sets import combined
from services.infra.wire import config_message, source_message, to_profiles
from services.parallel.architectures import open_model

MODELS = ("bert-small", "gpt-small", "moe-small", "wide-resnet-small")
CONFIGS = tuple(ParallelConfig(*shape) for shape in ((1, 1), (2, 1), (1, 2), (2, 2)))
NUM_DEVICES = 4
NUM_REPEATS = 100
PAUSE_S = 0.05
TOLERANCE = 0.1
Services = dict[str, ServiceProcess]


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


def profiled(services: Services, name: str, config: ParallelConfig, num_repeats: int) -> Profiles:
    """Profile one config now; what is known of it is measured again."""
    order = profiler_pb2.ProfileRequest(model=name, configs=[config_message(config)], num_repeats=num_repeats)
    with ProfilerClient(services["profiler"].address) as profiler:
        for _ in profiler.profile(order):
            pass
        return to_profiles(profiler.get_profile(name))


def place(services: Services, name: str, config: ParallelConfig) -> None:
    group = placement_pb2.Group(config=config_message(config), devices=range(config.num_devices), models=[name])
    with PlannerClient(services["planner"].address) as planner:
        planner.apply(placement_pb2.Placement(groups=[group]), timeout_s=300)


async def asked(router: str, name: str, until: "asyncio.Future[Profiles]") -> list[tuple[float, float, float]]:
    """Seconds that a client waited, those in the stages and those predicted, of the last requests before `until`."""
    inputs = open_model(source_of(name)).example()
    found: deque[tuple[float, float, float]] = deque(maxlen=NUM_REPEATS)
    async with AsyncClient(router) as client:
        while not until.done():
            await asyncio.sleep(random.uniform(0, 2 * PAUSE_S))
            began_s = time.perf_counter()
            result = await client.infer(name, inputs)
            waited_s = time.perf_counter() - began_s
            found.append((waited_s, result.execution_time_s, result.predicted_finish_s))
    return list(found)


async def side_by_side(
    services: Services, name: str, config: ParallelConfig
) -> tuple[Profiles, list[tuple[float, float, float]]]:
    """The profile, and what was served while it was measured: both meet the same machine."""
    profiling = asyncio.ensure_future(asyncio.to_thread(profiled, services, name, config, NUM_REPEATS))
    requests = await asked(services["router"].address, name, profiling)
    return await profiling, requests


def served(services: Services, name: str, config: ParallelConfig) -> Served:
    profiled(services, name, config, num_repeats=1)
    place(services, name, config)
    profiles, requests = asyncio.run(side_by_side(services, name, config))
    waited_s, stages_s, admission_s = zip(*requests, strict=True)
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


def one_round(services: Services) -> list[Served]:
    found = []
    for name in MODELS:
        register(services, name)
        for config in CONFIGS:
            found.append(served(services, name, config))
            print(*row(found[-1]), file=sys.stderr, flush=True)
    return found


def write_profiles(services: Services, path: Path) -> None:
    with ProfilerClient(services["profiler"].address) as profiler:
        profiles = combined([to_profiles(profiler.get_profile(name)) for name in MODELS])
    path.write_text(json.dumps(profiles_document(replace(profiles, note=machine())), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    num_rounds = given.rounds
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
    with running({"num_devices": NUM_DEVICES}, ("profiler", *SERVING)) as services:
        rounds = [one_round(services) for _ in range(num_rounds)]
        if given.write:
            write_profiles(services, given.write)
    found = [sorted(again, key=lambda one: one.ratio)[num_rounds // 2] for again in zip(*rounds, strict=True)]
    table(header, map(row, found))
    worst = max(found, key=lambda one: abs(one.ratio - 1))
    within = sum(abs(one.ratio - 1) <= TOLERANCE for one in found)
    print(
        f"\n{within} of {len(found)} within 10 %; the farthest is {worst.model} on {worst.config}: {worst.ratio:.3f}."
    )


if __name__ == "__main__":
    main()
