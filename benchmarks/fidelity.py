"""The simulator against the system: 64 emulated devices behind the real services, as the paper's Table 2 does it.

`python -m benchmarks.fidelity [--model bert-2.6b] [--requests 4000]`: three placements (single devices, pipelines,
mixed) under four SLO scales, each cell the same Gamma traffic of CV 4, sent open loop and simulated. What a request
takes outside the stages is measured first for each placement, on the idle system and then under such traffic, whose
bursts queue for the machine's own processors; the median goes into the profile that both use. The larger model asks
for as much of the devices with fewer requests, so that less of what is measured is this machine.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from alpaserve.v1 import model_pb2
from alpaserve_cli.inputs import no_inputs
from alpaserve_cli.processes import ServiceProcess
from alpaserve_cli.replay import ReplayResult, replay
from alpaserve_client import Client, PlannerClient, ProfilerClient
from numpy.typing import NDArray

from benchmarks.problems import MEMORY_BYTES, V100, gamma_traffic, spec_of
from benchmarks.report import percent, table, title
from benchmarks.system import SERVING, running
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.profile import ParallelConfig, Profiles
from services.core.profile_documents import profiles_document
from services.core.simulator import simulate
from services.infra.wire import placement_message
from services.planner.policies.greedy import fill_greedily
from services.planner.policies.partition import pack
from services.planner.policies.search import Search

NUM_DEVICES = 64
CV = 4.0
SLO_SCALES = (1.5, 2.0, 5.0, 10.0)
SHAPES = {
    "single devices": [ParallelConfig(1, 1)] * NUM_DEVICES,
    "pipelines": [ParallelConfig(4, 1)] * 16,
    "mixed": [ParallelConfig(1, 1)] * 24 + [ParallelConfig(4, 1)] * 6 + [ParallelConfig(2, 2)] * 4,
}
NUM_UNLOADED, NUM_CALIBRATING = 100, 1_500
ERROR_EDGES_MS = (-np.inf, -20.0, -5.0, -2.0, -1.0, 1.0, 2.0, 5.0, 20.0, np.inf)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of so many models of one kind, in all."""

    model: str
    num_models: int
    rate_per_s: float
    num_requests: int

    def problem(self, profiles: Profiles, slo_scale: float, num_requests: int | None = None) -> Problem:
        spec = spec_of([self.model] * self.num_models, NUM_DEVICES, slo_scale)
        duration_s = (num_requests or self.num_requests) / self.rate_per_s
        return pose(spec, profiles, gamma_traffic(spec, self.rate_per_s, duration_s, CV))


# As many as fit in memory, at 0.6 of what single devices can do.
TRAFFIC = {
    "bert-2.6b": Traffic("bert-2.6b", 96, 160.0, 4_000),
    "bert-6.7b": Traffic("bert-6.7b", 64, 96.0, 4_000),
}


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One placement under one SLO scale; `errors_s` of what both served: measured minus simulated latency."""

    placement: str
    slo_scale: float
    measured: float
    simulated: float
    num_failed: int
    errors_s: NDArray[np.float64]

    @property
    def difference(self) -> float:
        return self.measured - self.simulated


def placement_of(problem: Problem, configs: list[ParallelConfig]) -> Placement:
    """The groups filled greedily."""
    partition = pack(problem.spec.cluster, configs)
    if partition is None:
        raise SystemExit(f"{len(configs)} groups do not fit {NUM_DEVICES} devices")
    search = Search(problem)
    found = fill_greedily(search, search.fleet(partition), problem)
    return found.fleet.placement(found.replicas, problem.spec.names, "earliest-free")


def import_profiles(profiler: ServiceProcess, profiles: Profiles) -> None:
    with ProfilerClient(profiler.address) as client:
        client.import_profiles(json.dumps(profiles_document(profiles)).encode())


def apply(planner: ServiceProcess, placement: Placement) -> None:
    with PlannerClient(planner.address) as client:
        client.apply(placement_message(placement, ""), timeout_s=300)


def of_one_config(placement: Placement) -> tuple[str, ParallelConfig]:
    """A model all of whose replicas are alike."""
    configs: dict[str, set[ParallelConfig]] = {}
    for group in placement.groups:
        for name in group.models:
            configs.setdefault(name, set()).add(group.config)
    return next((name, own.pop()) for name, own in configs.items() if len(own) == 1)


def idle_overhead_s(router: str, model: str, stages_s: float) -> float:
    """Median seconds of a request beside its stages."""
    seconds = []
    with Client(router) as client:
        for _ in range(NUM_UNLOADED):
            began_s = time.perf_counter()
            client.infer(model, {})
            seconds.append(time.perf_counter() - began_s - stages_s)
    return statistics.median(seconds)


def cell(name: str, placement: Placement, problem: Problem, result: ReplayResult) -> Cell:
    outcome = simulate(problem, problem.placement_layout(placement), placement.dispatch_rule)
    attained = outcome.attained(problem)
    both = attained & result.attained
    simulated_s = outcome.finish_s - problem.workload.arrival_s
    return Cell(
        placement=name,
        slo_scale=problem.spec.models[0].slo_scale or 0.0,
        measured=float(result.attained.mean()),
        simulated=float(attained.mean()),
        num_failed=result.num_outcomes()["failed"],
        errors_s=(result.latency_s - simulated_s)[both],
    )


def cells(services: dict[str, ServiceProcess], traffic: Traffic) -> Iterator[Cell]:
    import_profiles(services["profiler"], V100)
    with PlannerClient(services["planner"].address) as planner:
        for index in range(traffic.num_models):
            planner.register_model(model_pb2.Model(name=f"m{index}", profile=traffic.model))
    router = services["router"].address
    for name, configs in SHAPES.items():
        placement = placement_of(traffic.problem(V100, 5.0), configs)
        profiles = calibrated(services, traffic, placement)
        apply(services["planner"], placement)
        for slo_scale in SLO_SCALES:
            yield replayed(name, placement, traffic.problem(profiles, slo_scale), router)


def calibrated(services: dict[str, ServiceProcess], traffic: Traffic, placement: Placement) -> Profiles:
    """The profiles, also the profiler's, with what a request takes beside its stages under this placement."""
    router = services["router"].address
    apply(services["planner"], placement)
    model, config = of_one_config(placement)
    idle_s = idle_overhead_s(router, model, sum(V100.stage_latency_s(traffic.model, config, 1)))
    profiles = with_overhead(services["profiler"], idle_s)
    apply(services["planner"], placement)
    loosest = traffic.problem(profiles, SLO_SCALES[-1], NUM_CALIBRATING)
    loaded = replayed("", placement, loosest, router)
    profiles = with_overhead(services["profiler"], idle_s + float(np.median(loaded.errors_s)))
    shown = f"Request overhead: idle {1e3 * idle_s:.2f} ms, loaded {1e3 * profiles.request_overhead_s:.2f} ms."
    print(shown, file=sys.stderr, flush=True)
    return profiles


def with_overhead(profiler: ServiceProcess, overhead_s: float) -> Profiles:
    profiles = replace(V100, request_overhead_s=overhead_s)
    import_profiles(profiler, profiles)
    return profiles


def replayed(name: str, placement: Placement, problem: Problem, router: str) -> Cell:
    workload = replace(problem.workload, slo_s=problem.requests.slo_s)
    return cell(name, placement, problem, replay(workload, router, no_inputs))


def row(found: Cell) -> tuple[object, ...]:
    shown = (percent(found.measured), percent(found.simulated), f"{100 * found.difference:+.2f}")
    return found.placement, found.slo_scale, *shown, found.num_failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bert-6.7b", choices=list(TRAFFIC))
    parser.add_argument("--requests", type=int, default=None, help="a cell")
    given = parser.parse_args()
    traffic = TRAFFIC[given.model]
    traffic = replace(traffic, num_requests=given.requests or traffic.num_requests)
    title(
        f"Attainment, measured and simulated: {traffic.num_models} x {traffic.model} on {NUM_DEVICES} emulated "
        f"devices, {traffic.rate_per_s:g} requests/s, {traffic.num_requests} a cell"
    )
    settings = {"executor": "emulated", "num_devices": NUM_DEVICES, "memory_bytes": MEMORY_BYTES}
    with running(settings, ("profiler", *SERVING)) as services:
        found = list(cells(services, traffic))
    table(("placement", "SLO scale", "measured", "simulated", "difference, points", "failed"), map(row, found))
    differences = [100 * abs(one.difference) for one in found]
    print(f"\nMean difference {statistics.mean(differences):.2f} points, largest {max(differences):.2f}.")
    title("Measured minus simulated latency of the requests that both served")
    errors_ms = 1e3 * np.concatenate([one.errors_s for one in found])
    counts, _ = np.histogram(errors_ms, ERROR_EDGES_MS)
    edges = pairwise(ERROR_EDGES_MS)
    table(
        ("from ms", "to ms", "requests", "share"),
        [(low, high, int(n), percent(n / len(errors_ms))) for (low, high), n in zip(edges, counts, strict=True)],
    )


if __name__ == "__main__":
    main()
