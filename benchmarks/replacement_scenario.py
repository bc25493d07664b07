"""What the re-placements of `benchmarks.replacements` serve: models whose popularity is dealt anew again and again, and
a placement for each deal, of group shapes that change from one to the next."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.core.arrivals import gamma_arrivals, power_law_rates
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.profile import Profiles
from services.core.profile_documents import parse_profiles
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.workload import Workload, workload_from_arrivals
from services.planner.controllers.outlook import joined
from services.planner.policies.plan import make_plan
from services.planner.policies.search import Limits, Search

PROFILE = "even"
WEIGHT_BYTES = 2_400_000_000
LATENCY_S = 0.15
# What a request takes beside its stages, all processes on two cores.
OVERHEAD_S = 0.01
# A pipeline costs a little more than its share, a sharded model more than that.
SHAPES = {(1, 1): 1.0, (2, 1): 1.04, (4, 1): 1.08, (1, 2): 1.25, (2, 2): 1.3}
# The shapes of most groups change from each of these to the next.
POLICIES = ("alpaserve", "fixed-2x1", "selective-replication", "fixed-4x1", "alpaserve", "fixed-1x2")
CV = 2.0
SLO_SCALE = 5.0
MAX_SIMULATIONS = 300


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it: a placement more than there are re-placements, each for `period_s` of traffic."""

    num_replacements: int
    num_devices: int
    num_models: int
    memory_bytes: int
    rate_per_s: float
    period_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """The whole of the traffic, and the placements that follow each other."""

    problem: Problem
    placements: tuple[Placement, ...]


def profiles_document() -> dict[str, Any]:
    """One profile for all models, its stages alike."""
    entries = [
        {
            "inter_op": inter_op,
            "intra_op": intra_op,
            "batch_size": 1,
            "stage_latency_s": [LATENCY_S * costs / (inter_op * intra_op)] * inter_op,
            "stage_weight_bytes": [WEIGHT_BYTES // (inter_op * intra_op)] * inter_op,
        }
        for (inter_op, intra_op), costs in SHAPES.items()
    ]
    overhead = {"request_overhead_s": OVERHEAD_S}
    return {"schema": "alpaserve.profiles/v1", **overhead, "models": [{"model": PROFILE, "profiles": entries}]}


def make_scenario(size: Size, seed: int) -> Scenario:
    """Deal the popularity of every period, draw its arrivals, and plan for them."""
    profiles = parse_profiles(profiles_document())
    cluster = Cluster(size.num_devices, size.num_devices, size.memory_bytes)
    models = tuple(ModelSpec(f"m{i}", PROFILE, slo_scale=SLO_SCALE) for i in range(size.num_models))
    spec = Spec(cluster, models)
    rng = np.random.default_rng(seed)
    periods = [period_traffic(spec, size, rng) for _ in range(size.num_replacements + 1)]
    placements = tuple(planned(spec, profiles, traffic, number, seed) for number, traffic in enumerate(periods))
    begins_s = [number * size.period_s for number in range(len(periods))]
    return Scenario(pose(spec, profiles, joined(periods, begins_s)), placements)


def period_traffic(spec: Spec, size: Size, rng: np.random.Generator) -> Workload:
    """Gamma arrivals of every model by itself, at rates by a power law whose ranks are dealt."""
    rates = rng.permutation(power_law_rates(size.rate_per_s, size.num_models, -0.7)).tolist()
    return workload_from_arrivals(
        {name: gamma_arrivals(rate, CV, size.period_s, rng) for name, rate in zip(spec.names, rates, strict=True)}
    )


def planned(spec: Spec, profiles: Profiles, traffic: Workload, number: int, seed: int) -> Placement:
    search = Search(pose(spec, profiles, traffic), seed=seed, limits=Limits(MAX_SIMULATIONS))
    return make_plan(POLICIES[number % len(POLICIES)], search).placement
