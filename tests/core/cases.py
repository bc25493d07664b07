"""Random documents for properties: few models, uneven groups, ties and overload likely."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from services.core.documents import parse_placement, parse_profiles, parse_spec
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.workload import parse_workload

CONFIGS = ((1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (4, 1))
_NODE = 4
Row = tuple[float, str, float | None]

# A coarse grid makes ties, free floats make rounding.
_latency = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0.001, 2.0))
_gap = st.one_of(st.sampled_from([0.0, 0.0, 0.25, 0.5]), st.floats(0.0, 1.0))
_slo = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), st.floats(0.01, 5.0))


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
def profile_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Three profiles that have every config."""
    models = []
    for name in ("small", "medium", "large"):
        entries = [
            {
                "inter_op": inter,
                "intra_op": intra,
                "batch_size": 1,
                "stage_latency_s": draw(st.lists(_latency, min_size=inter, max_size=inter)),
                "stage_weight_bytes": [10] * inter,
            }
            for inter, intra in CONFIGS
        ]
        models.append({"model": name, "profiles": entries})
    return {
        "schema": "alpaserve.profiles/v1",
        "request_overhead_s": draw(st.sampled_from([0.0, 0.011, 0.3])),
        "stage_latency_factor_per_stage": draw(st.sampled_from([0.0, 0.009, 0.25])),
        "models": models,
    }


@st.composite
def spec_documents(draw: st.DrawFn) -> dict[str, Any]:
    """One to five models with an SLO, a scale of one, or none."""
    models = []
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["slo_s", "slo_scale", None]))
        slo = {} if kind is None else {kind: draw(_slo)}
        models.append({"name": f"m{index}", "profile": draw(st.sampled_from(["small", "medium", "large"])), **slo})
    cluster = {"num_devices": 4 * _NODE, "devices_per_node": _NODE, "memory_bytes": 1000}
    return {"schema": "alpaserve.spec/v1", "cluster": cluster, "models": models}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A whole problem, placement and dispatch rule."""
    spec = draw(spec_documents())
    names = [model["name"] for model in spec["models"]]
    groups, used = [], 0
    for inter, intra in draw(st.lists(st.sampled_from(CONFIGS), max_size=4)):
        devices = list(range(used, used + inter * intra))
        used += inter * intra
        held = draw(st.lists(st.sampled_from(names), unique=True))
        groups.append({"inter_op": inter, "intra_op": intra, "devices": devices, "models": held})
    rows: list[Row] = []
    now_s = draw(_gap)
    for gap, name, slo in draw(
        st.lists(st.tuples(_gap, st.sampled_from(names), st.none() | _slo), min_size=1, max_size=40)
    ):
        now_s += gap
        rows.append((now_s, name, slo))
    placement = {"schema": "alpaserve.placement/v1", "groups": groups}
    rule = draw(st.sampled_from(["earliest-free", "shortest-queue", "earliest-finish"]))
    return Case(spec, draw(profile_documents()), placement, rows, rule)
