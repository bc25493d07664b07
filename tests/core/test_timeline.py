"""Placements that follow each other: what carries over, what switching costs, and an oracle."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core import kernel
from services.core.documents import parse_placement
from services.core.errors import InvalidArgument, InvalidPlacement
from services.core.schedule import DISPATCH_RULES
from services.core.simulator import compiled_serve, simulate
from services.core.timeline import (
    Timeline,
    Window,
    report_timeline,
    simulate_timeline,
    simulate_timeline_counts,
)
from tests.core import timeline_oracle
from tests.core.cases import CONFIGS, Case, cases, long_case
from tests.core.test_batching import one_device
from tests.core.test_simulator import fates

SPEEDS = st.sampled_from([None, 5.0, 20.0, 100.0])


def timeline_of(windows: list[dict[str, Any]], rule: str) -> Timeline:
    header = {"schema": "alpaserve.placement/v1", "dispatch": rule}
    return Timeline(
        tuple(Window(window["begin_s"], parse_placement(header | {"groups": window["groups"]})) for window in windows)
    )


@st.composite
def window_documents(draw: st.DrawFn, case: Case) -> list[dict[str, Any]]:
    """The case's placement, then up to three others that keep, lose and gain groups and replicas."""
    names = [model["name"] for model in case.spec["models"]]
    windows = [{"begin_s": 0.0, "groups": case.placement_document["groups"]}]
    for _ in range(draw(st.integers(0, 3))):
        kept = [group for group in windows[-1]["groups"] if draw(st.booleans())]
        free = [device for device in range(16) if all(device not in group["devices"] for group in kept)]
        groups = [group | {"models": draw(st.lists(st.sampled_from(names), unique=True))} for group in kept]
        for inter, intra in draw(st.lists(st.sampled_from(CONFIGS), max_size=2)):
            if len(free) >= inter * intra:
                devices, free = free[: inter * intra], free[inter * intra :]
                held = draw(st.lists(st.sampled_from(names), unique=True))
                groups.append({"inter_op": inter, "intra_op": intra, "devices": devices, "models": held})
        begin_s = windows[-1]["begin_s"] + draw(st.sampled_from([0.5, 1.0, 2.5]))
        windows.append({"begin_s": begin_s, "groups": draw(st.permutations(groups))})
    return windows


@settings(max_examples=100, deadline=None)
@given(st.data(), cases(), SPEEDS, st.booleans())
def test_every_fate_is_what_an_independent_simulator_says(
    data: st.DataObject, case: Case, speed: float | None, is_tight: bool
) -> None:
    windows = data.draw(window_documents(case))
    if is_tight:
        fullest = max((len(group["models"]) for window in windows for group in window["groups"]), default=1)
        case.spec["cluster"]["memory_bytes"] = 10 * max(fullest, 1)
    timeline = timeline_of(windows, case.rule)

    outcome = simulate_timeline(case.problem(), timeline, speed, kernel.serve)

    seats = [(config.inter_op, config.intra_op, devices) for config, devices in timeline.seats]
    found = [(None if group < 0 else seats[group], finish_s) for group, finish_s in fates(outcome)]
    assert found == timeline_oracle.simulate(case.spec, case.profiles, windows, case.rows, case.rule, speed)


@pytest.mark.parametrize("rule", DISPATCH_RULES)
def test_the_same_placement_again_and_again_is_one_placement(rule: str) -> None:
    case = long_case(rule, 0)
    groups = case.placement_document["groups"]
    timeline = timeline_of([{"begin_s": float(begin), "groups": groups} for begin in range(0, 200, 7)], rule)
    problem = case.problem()

    switched = simulate_timeline(problem, timeline, 1.0, compiled_serve())

    plain = simulate(problem, problem.placement_layout(case.placement), timeline.dispatch_rule)
    assert switched.group.tobytes() == plain.group.tobytes()
    assert switched.finish_s.tobytes() == plain.finish_s.tobytes()
    assert switched.stage_free_s.tobytes() == plain.stage_free_s.tobytes()


def test_counts_are_those_of_the_full_outcome() -> None:
    case = long_case("shortest-queue", 1)
    groups = case.placement_document["groups"]
    windows = [{"begin_s": 20.0 * i, "groups": groups[i % 3 :]} for i in range(6)]
    timeline, problem = timeline_of(windows, case.rule), case.problem()

    counts = simulate_timeline_counts(problem, timeline, 5.0, kernel.serve)
    outcome = simulate_timeline(problem, timeline, 5.0, kernel.serve)

    summary = report_timeline(problem, timeline, outcome)
    assert counts.attained.sum() == outcome.admitted.sum()
    assert counts.group_requests.tolist() == [row.num_requests for row in summary.groups]
    assert counts.group_attained.tolist() == [row.num_attained for row in summary.groups]


def two_devices(arrivals: list[float], second: list[dict[str, Any]]) -> tuple[Case, Timeline]:
    """One model of a second on device 0 of two, and other groups from 10 s on."""
    case = one_device(slo_s=9.0, arrivals=arrivals)
    case.spec["cluster"] |= {"num_devices": 2, "devices_per_node": 2}
    first = case.placement_document["groups"]
    return case, timeline_of([{"begin_s": 0.0, "groups": first}, {"begin_s": 10.0, "groups": second}], case.rule)


def single(device: int, *models: str) -> dict[str, Any]:
    return {"inter_op": 1, "intra_op": 1, "devices": [device], "models": list(models)}


@pytest.mark.parametrize(
    ("speed", "second", "finishes"),
    [
        (None, [single(0, "m0")], [10.5, 11.5, 12.5]),
        (1.0, [single(0, "m0")], [10.5, 11.5, 12.5]),
        (None, [single(1, "m0")], [10.5, 11.0, 12.0]),
        (0.5, [single(1, "m0")], [10.5, 11.5, 13.0]),
        (0.5, [single(0, "m0"), single(1, "m0")], [10.5, 11.5, 13.0]),
        (None, [single(0)], [10.5, None, None]),
    ],
)
def test_what_is_new_waits_for_its_weights_and_what_goes_serves_till_then(
    speed: float | None, second: list[dict[str, Any]], finishes: list[float | None]
) -> None:
    case, timeline = two_devices([9.5, 10.0, 12.0 if speed == 0.5 else 10.0], second)

    outcome = simulate_timeline(case.problem(), timeline, speed, kernel.serve)

    assert [finish_s for _, finish_s in fates(outcome)] == finishes


def test_a_request_waits_for_a_model_that_is_down_if_it_is_back_in_time() -> None:
    """It changes places with another, without room for both: it is down for the 2 s that both loads take."""
    case = one_device(slo_s=2.5, arrivals=[])
    case.spec["cluster"] |= {"num_devices": 2, "devices_per_node": 2, "memory_bytes": 10}
    case.spec["models"].append(case.spec["models"][0] | {"name": "m1"})
    for entry in case.profiles["models"][0]["profiles"]:
        entry["stage_weight_bytes"] = [10]
    case.rows[:] = [(10.0, "m0", None), (11.5, "m0", None), (11.75, "m0", None)]
    windows = [{"begin_s": 0.0, "groups": [single(0, "m0"), single(1, "m1")]}]
    windows.append({"begin_s": 10.0, "groups": [single(0, "m1"), single(1, "m0")]})

    outcome = simulate_timeline(case.problem(), timeline_of(windows, case.rule), 10.0, kernel.serve)

    assert [finish_s for _, finish_s in fates(outcome)] == [None, 13.0, 14.0]


def test_a_group_that_is_formed_waits_for_the_work_of_its_devices() -> None:
    case, _ = two_devices([], [])
    case.profiles["models"][0]["profiles"].append(
        case.profiles["models"][0]["profiles"][0]
        | {"inter_op": 2, "stage_latency_s": [0.5, 0.5], "stage_weight_bytes": [1, 1]}
    )
    case.rows[:] = [(9.5, "m0", None), (10.0, "m0", None)]
    pair = {"inter_op": 2, "intra_op": 1, "devices": [1, 0], "models": ["m0"]}
    timeline = timeline_of(
        [{"begin_s": 0.0, "groups": [single(0, "m0")]}, {"begin_s": 10.0, "groups": [pair]}], case.rule
    )

    outcome = simulate_timeline(case.problem(), timeline, None, kernel.serve)

    assert outcome.finish_s.tolist() == [10.5, 11.0]
    assert outcome.stage_free_s.tolist() == [10.5, 10.5, 11.0]
    assert outcome.stage_busy_s.tolist() == [1.0, 0.5, 0.5]


@pytest.mark.parametrize("begins", [[], [0.0, 0.0], [1.0, 0.5], [0.0, np.inf]])
def test_windows_that_mean_nothing_are_refused(begins: list[float]) -> None:
    with pytest.raises(InvalidPlacement):
        timeline_of([{"begin_s": begin, "groups": []} for begin in begins], "earliest-free")


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_that_means_nothing_is_refused(speed: float) -> None:
    case, timeline = two_devices([1.0], [])

    with pytest.raises(InvalidArgument):
        simulate_timeline(case.problem(), timeline, speed, kernel.serve)


def test_every_window_s_placement_is_held_against_the_cluster() -> None:
    case, timeline = two_devices([1.0], [single(7, "m0")])

    with pytest.raises(InvalidPlacement, match="device 7"):
        simulate_timeline(case.problem(), timeline, None, kernel.serve)
