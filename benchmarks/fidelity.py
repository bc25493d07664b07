"""The simulator against the system: 64 emulated devices behind the real services, as the paper's Table 2 does it.

`python -m benchmarks.fidelity [REQUESTS]`: three placements of 96 BERT-2.6B (single devices, pipelines, mixed) under
four SLO scales, each cell the same Gamma traffic (160 requests/s, CV 4), sent open loop and simulated. What a request
takes outside the stages is measured first, on the idle system and then under such traffic, whose bursts queue for the
machine's own processors; the median goes into the profile that both use.
"""

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
from alpaserve_cli.replay import replay
from alpaserve_cli.replay_outcomes import ReplayResult
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

MODEL = "bert-2.6b"
NUM_MODELS = 96
NUM_DEVICES = 64
RATE_PER_S = 160.0
CV = 4.0
SLO_SCALES = (1.5, 2.0, 5.0, 10.0)
SHAPES = {
    "single devices": [ParallelConfig(1, 1)] * NUM_DEVICES,
    "pipelines": [ParallelConfig(4, 1)] * 16,
    "mixed": [ParallelConfig(1, 1)] * 24 + [ParallelConfig(4, 1)] * 6 + [ParallelConfig(2, 2)] * 4,
}
NUM_UNLOADED, NUM_CALIBRATING = 200, 2_000
LOOSEST = SLO_SCALES[-1]
ERROR_EDGES_MS = (-np.inf, -20.0, -5.0, -2.0, -1.0, 1.0, 2.0, 5.0, 20.0, np.inf)


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


def problem_of(profiles: Profiles, slo_scale: float, num_requests: int) -> Problem:
    spec = spec_of([MODEL] * NUM_MODELS, NUM_DEVICES, slo_scale)
    return pose(spec, profiles, gamma_traffic(spec, RATE_PER_S, num_requests / RATE_PER_S, CV))


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


def unloaded_overhead_s(router: ServiceProcess, profiles: Profiles, config: ParallelConfig) -> float:
    """Median seconds of a request beside its stages."""
    stages_s = sum(profiles.stage_latency_s(MODEL, config, 1))
    seconds = []
    with Client(router.address) as client:
        for _ in range(NUM_UNLOADED):
            began_s = time.perf_counter()
            client.infer("m0", {})
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


def cells(services: dict[str, ServiceProcess], num_requests: int) -> Iterator[Cell]:
    import_profiles(services["profiler"], V100)
    with PlannerClient(services["planner"].address) as planner:
        for index in range(NUM_MODELS):
            planner.register_model(model_pb2.Model(name=f"m{index}", profile=MODEL))
    router = services["router"].address
    single_devices = placement_of(problem_of(V100, LOOSEST, num_requests), SHAPES["single devices"])
    apply(services["planner"], single_devices)
    idle_s = unloaded_overhead_s(services["router"], V100, ParallelConfig(1, 1))
    profiles = with_overhead(services["profiler"], idle_s)
    apply(services["planner"], single_devices)
    first = replayed("", single_devices, problem_of(profiles, LOOSEST, NUM_CALIBRATING), router)
    profiles = with_overhead(services["profiler"], idle_s + float(np.median(first.errors_s)))
    print(
        f"Request overhead: idle {1e3 * idle_s:.2f} ms, loaded {1e3 * profiles.request_overhead_s:.2f} ms.\n",
        flush=True,
    )
    for name, configs in SHAPES.items():
        placement = placement_of(problem_of(profiles, 5.0, num_requests), configs)
        apply(services["planner"], placement)
        for slo_scale in SLO_SCALES:
            yield replayed(name, placement, problem_of(profiles, slo_scale, num_requests), router)


def with_overhead(profiler: ServiceProcess, overhead_s: float) -> Profiles:
    """The profiles, also the profiler's, with this much beside the stages of a request."""
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
    num_requests = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
    title(f"Attainment, measured and simulated: {NUM_DEVICES} emulated devices, {num_requests} requests a cell")
    settings = {"executor": "emulated", "num_devices": NUM_DEVICES, "memory_bytes": MEMORY_BYTES}
    with running(settings, ("profiler", *SERVING)) as services:
        found = list(cells(services, num_requests))
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
