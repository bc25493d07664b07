"""The figures of a run, worked out by hand."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from services.core import kernel
from services.core.attainment import goodput_per_s, model_rows, report, summarize_latency
from services.core.documents import parse_placement, parse_spec
from services.core.errors import DoesNotFit, InvalidPlacement, InvalidWorkload, UnknownProfile
from services.core.problem import pose
from services.core.profile_documents import parse_profiles
from services.core.simulator import simulate
from services.core.workload import parse_workload

SPEC: dict[str, Any] = {
    "schema": "alpaserve.spec/v1",
    "cluster": {"num_devices": 4, "devices_per_node": 4, "memory_bytes": 25},
    "models": [
        {"name": "a", "profile": "p", "slo_s": 4.0},
        {"name": "b", "profile": "p", "slo_scale": 2},
        {"name": "c", "profile": "p"},
        {"name": "d", "profile": "p"},
    ],
}
PROFILES: dict[str, Any] = {
    "schema": "alpaserve.profiles/v1",
    "request_overhead_s": 0.5,
    "stage_latency_factor_per_stage": 0.25,
    "models": [
        {
            "model": "p",
            "reference_latency_s": 2.0,
            "profiles": [
                {
                    "inter_op": 2,
                    "intra_op": 1,
                    "batch_size": 1,
                    "stage_latency_s": [1.0, 0.5],
                    "stage_weight_bytes": [5, 10],
                }
            ],
        }
    ],
}
PLACEMENT: dict[str, Any] = {
    "schema": "alpaserve.placement/v1",
    "groups": [
        {"inter_op": 2, "intra_op": 1, "devices": [0, 1], "models": ["a", "b"]},
        {"inter_op": 2, "intra_op": 1, "devices": [2, 3], "models": []},
    ],
}
# Stage costs are 1.5 and 0.75 s. a: 1 → 3.25 (+0.5). b at 1, SLO 4: 2.5 → 4.0, 4.75 (+0.5) is 4.25
# after its arrival, too late. a at 1.5 with its own 4.25: the same clocks, 4.75 (+0.5) − 1.5 = 3.75.
ROWS = ["arrival_s,model,slo_s", "1,a,", "1,b,", "1.5,a,4.25", "2,c,"]


def document(rows: list[str]) -> dict[str, Any]:
    problem = pose(parse_spec(SPEC), parse_profiles(PROFILES), parse_workload(rows))
    placement = parse_placement(PLACEMENT)
    outcome = simulate(problem, problem.placement_layout(placement), placement.dispatch_rule, kernel.serve)
    return asdict(report(problem, placement, outcome))


def test_a_report_counts_every_request() -> None:
    assert document(ROWS) == {
        "attainment": 0.5,
        "num_requests": 4,
        "goodput_per_s": 2.0,
        "latency_s": {"mean": 3.25, "p50": 3.25, "p99": pytest.approx(3.74)},
        "models": {
            "a": {"attainment": 1.0, "num_requests": 2},
            "b": {"attainment": 0.0, "num_requests": 1},
            "c": {"attainment": 0.0, "num_requests": 1},
            "d": {"attainment": None, "num_requests": 0},
        },
        "groups": (
            {"num_requests": 3, "num_attained": 2, "stage_busy_share": (3.0 / 3.75, 1.5 / 3.75)},
            {"num_requests": 0, "num_attained": 0, "stage_busy_share": (0.0, 0.0)},
        ),
    }


def test_a_run_without_any_attained_request_has_no_latency() -> None:
    figures = document(["arrival_s,model", "1,c", "1,c"])

    assert figures["latency_s"] == {"mean": None, "p50": None, "p99": None}
    assert figures["goodput_per_s"] is None
    assert figures["attainment"] == 0.0


def test_a_single_request_has_no_goodput() -> None:
    assert goodput_per_s(1, np.array([3.0])) is None


def test_percentiles_are_linear() -> None:
    summary = summarize_latency(np.array([1.0, 2.0, 4.0]))

    assert summary.p50 == 2.0
    assert summary.p99 == pytest.approx(3.96)


def test_rows_of_models_need_no_simulator() -> None:
    rows = model_rows(["a", "b"], np.array([0, 0, 1], dtype=np.int32), np.array([True, False, True]))

    assert {name: (row.attainment, row.num_requests) for name, row in rows.items()} == {"a": (0.5, 2), "b": (1.0, 1)}


def test_a_workload_without_requests_is_refused() -> None:
    with pytest.raises(InvalidWorkload, match="no requests"):
        document(["arrival_s,model"])


def test_a_workload_model_that_the_spec_lacks_is_refused() -> None:
    with pytest.raises(InvalidWorkload, match="unknown model 'z'"):
        document(["arrival_s,model", "0,z"])


@pytest.mark.parametrize(
    ("group", "error", "named"),
    [
        ({"models": ["a", "b", "c"]}, DoesNotFit, "30 bytes"),
        ({"models": ["z"]}, InvalidPlacement, "'z'"),
        ({"devices": [0, 9]}, InvalidPlacement, "device 9"),
        ({"inter_op": 1, "intra_op": 2, "models": ["a"]}, UnknownProfile, "1x2"),
    ],
)
def test_a_placement_that_cannot_be_is_refused(group: dict[str, Any], error: type[Exception], named: str) -> None:
    problem = pose(parse_spec(SPEC), parse_profiles(PROFILES), parse_workload(ROWS))
    placement = parse_placement(PLACEMENT | {"groups": [PLACEMENT["groups"][0] | group]})

    with pytest.raises(error, match=named):
        problem.placement_layout(placement)
