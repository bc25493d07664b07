"""Random documents for properties: few models, uneven groups, ties and overload likely."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from services.core.documents import parse_placement, parse_spec
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.profile_documents import parse_profiles
from services.core.workload import parse_workload

CONFIGS = ((1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (4, 1))
_NODE = 4
Row = tuple[float, str, float | None]


@dataclass(frozen=True)
class Numbers:
    """Where the figures of a case come from."""

    latency: st.SearchStrategy[float]
    gap: st.SearchStrategy[float]
    slo: st.SearchStrategy[float]
    overhead: st.SearchStrategy[float]
    factor: st.SearchStrategy[float]


# A coarse grid makes ties and deadlines that are just met, free floats make rounding.
COARSE = Numbers(
    latency=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    gap=st.sampled_from([0.0, 0.0, 0.25, 0.5]),
    slo=st.sampled_from([0.5, 1.0, 2.0]),
    overhead=st.sampled_from([0.0, 0.25]),
    factor=st.just(0.0),
)
FINE = Numbers(
    latency=st.floats(0.001, 2.0),
    gap=st.floats(0.0, 1.0),
    slo=st.floats(0.01, 5.0),
    overhead=st.sampled_from([0.0, 0.011]),
    factor=st.sampled_from([0.0, 0.009, 0.25]),
)


@dataclass(frozen=True)
class Case:
    """One problem as documents; `rows` are (arrival_s, model, slo_s or None)."""

    spec: dict[str, Any]
    profiles: dict[str, Any]
    placement_document: dict[str, Any]
    rows: list[Row]
    rule: str

    @property
    def placement(self) -> Placement:
        return parse_placement(self.placement_document)

    def problem(self, rows: list[Row] | None = None) -> Problem:
        lines = [f"{t!r},{name},{'' if slo is None else repr(slo)}" for t, name, slo in rows or self.rows]
        workload = parse_workload(["arrival_s,model,slo_s", *lines])
        return pose(parse_spec(self.spec), parse_profiles(self.profiles), workload)


@st.composite
def profile_documents(draw: st.DrawFn, numbers: Numbers) -> dict[str, Any]:
    """Three profiles that have every config."""
    models = []
    for name in ("small", "medium", "large"):
        entries = [
            {
                "inter_op": inter,
                "intra_op": intra,
                "batch_size": 1,
                "stage_latency_s": draw(st.lists(numbers.latency, min_size=inter, max_size=inter)),
                "stage_weight_bytes": [10] * inter,
            }
            for inter, intra in CONFIGS
        ]
        models.append({"model": name, "profiles": entries})
    return {
        "schema": "alpaserve.profiles/v1",
        "request_overhead_s": draw(numbers.overhead),
        "stage_latency_factor_per_stage": draw(numbers.factor),
        "models": models,
    }


@st.composite
def spec_documents(draw: st.DrawFn, numbers: Numbers) -> dict[str, Any]:
    """One to five models with an SLO, a scale of one, or none."""
    models = []
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["slo_s", "slo_scale", None]))
        slo = {} if kind is None else {kind: draw(numbers.slo)}
        models.append({"name": f"m{index}", "profile": draw(st.sampled_from(["small", "medium", "large"])), **slo})
    cluster = {"num_devices": 4 * _NODE, "devices_per_node": _NODE, "memory_bytes": 1000}
    return {"schema": "alpaserve.spec/v1", "cluster": cluster, "models": models}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A whole problem, placement and dispatch rule."""
    numbers = draw(st.sampled_from([COARSE, FINE]))
    spec = draw(spec_documents(numbers))
    names = [model["name"] for model in spec["models"]]
    groups, used = [], 0
    for inter, intra in draw(st.lists(st.sampled_from(CONFIGS), max_size=4)):
        devices = list(range(used, used + inter * intra))
        used += inter * intra
        held = draw(st.just(names) | st.lists(st.sampled_from(names), unique=True))
        groups.append({"inter_op": inter, "intra_op": intra, "devices": devices, "models": held})
    rows: list[Row] = []
    now_s = draw(numbers.gap)
    request = st.tuples(numbers.gap, st.sampled_from(names), st.none() | numbers.slo)
    for gap, name, slo in draw(st.lists(request, min_size=1, max_size=40)):
        now_s += gap
        rows.append((now_s, name, slo))
    placement = {"schema": "alpaserve.placement/v1", "groups": groups}
    rule = draw(st.sampled_from(["earliest-free", "shortest-queue", "earliest-finish"]))
    return Case(spec, draw(profile_documents(numbers)), placement, rows, rule)


def long_case(rule: str, seed: int) -> Case:
    """Six uneven groups under five hundred bursty requests, about half of which are too many."""
    rng = np.random.default_rng(seed)
    names = [f"m{index}" for index in range(8)]
    groups, used = [], 0
    for inter, intra in CONFIGS:
        held = [name for name in names if rng.random() < 0.6]
        devices = list(range(used, used + inter * intra))
        used += inter * intra
        groups.append({"inter_op": inter, "intra_op": intra, "devices": devices, "models": held})
    arrivals = np.cumsum(rng.gamma(1 / 9, 9 / 16.0, 500)).tolist()
    rows: list[Row] = [
        (now_s, names[rng.integers(8)], float(rng.uniform(0.5, 4)) if rng.random() < 0.3 else None)
        for now_s in arrivals
    ]
    return Case(
        spec={
            "schema": "alpaserve.spec/v1",
            "cluster": {"num_devices": 4 * _NODE, "devices_per_node": _NODE, "memory_bytes": 1000},
            "models": [{"name": name, "profile": name, "slo_scale": 3} for name in names],
        },
        profiles=uneven_profiles(names, rng),
        placement_document={"schema": "alpaserve.placement/v1", "groups": groups},
        rows=rows,
        rule=rule,
    )


def uneven_profiles(names: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """A profile per name with every config, its stages anything from short to long."""
    models = []
    for name in names:
        entries = [
            {
                "inter_op": inter,
                "intra_op": intra,
                "batch_size": 1,
                "stage_latency_s": (rng.uniform(0.2, 2.0, inter) / inter).tolist(),
                "stage_weight_bytes": [10] * inter,
            }
            for inter, intra in CONFIGS
        ]
        models.append({"model": name, "profiles": entries})
    return {
        "schema": "alpaserve.profiles/v1",
        "request_overhead_s": 0.011,
        "stage_latency_factor_per_stage": 0.009,
        "models": models,
    }
