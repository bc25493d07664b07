"""The oracle that plans every window again, for that window's own traffic."""

import json

import numpy as np
import pytest

from services.core.documents import placement_document
from services.core.errors import InvalidArgument, NotPlaced
from services.core.problem import Problem
from services.core.timeline import Timeline, simulate_timeline
from services.core.timeline_documents import has_windows, parse_timeline, windows_document
from services.core.workload import workload_from_arrivals
from services.planner.policies.plan import Plan, make_plan
from services.planner.policies.search import Limits, Search
from tests.planner.problems import at, bursty, even_profile, mixed, posed, profiles, spec


def replanned(problem: Problem, window_s: float = 60.0, max_simulations: int | None = None) -> Plan:
    return make_plan("clockwork++", Search(problem, limits=Limits(max_simulations)), window_s)


def taking_turns() -> Problem:
    """Two models that each fill both devices, one asked for in the even minutes, the other in the odd."""
    arrivals = {
        "even": np.concatenate([np.arange(0.0, 60.0, 0.5), np.arange(120.0, 180.0, 0.5)]),
        "odd": np.arange(60.0, 120.0, 0.5),
    }
    profile_of = dict.fromkeys(arrivals, "p")
    one = profiles(even_profile("p", 0.9, 60))
    return posed(spec(profile_of, 2, 100, slo_scale=1.5), one, workload_from_arrivals(arrivals))


def test_each_window_is_planned_for_its_own_traffic() -> None:
    plan = replanned(taking_turns())

    held = [[group.models for group in window.placement.groups] for window in plan.windows]
    assert [window.begin_s for window in plan.windows] == [0.0, 60.0, 120.0]
    assert held == [[("even",), ("even",)], [("odd",), ("odd",)], [("even",), ("even",)]]
    assert plan.placement == plan.windows[0].placement
    assert plan.unplaced == ()


def test_it_attains_what_replication_that_stays_does_not() -> None:
    problem = taking_turns()

    plan = replanned(problem)

    assert plan.attainment > 0.95
    assert plan.attainment > make_plan("selective-replication", Search(problem)).attainment + 0.2


@pytest.mark.parametrize("problem", [bursty(), mixed(), taking_turns()], ids=["bursty", "mixed", "turns"])
@pytest.mark.parametrize("window_s", [1000.0, 50.0, 7.0])
def test_its_windows_run_as_predicted(problem: Problem, window_s: float) -> None:
    plan = replanned(problem, window_s)

    outcome = simulate_timeline(problem, Timeline(plan.windows))

    assert plan.attainment == outcome.admitted.sum() / problem.num_requests
    assert plan.upper_bound is None


def test_one_window_is_selective_replication() -> None:
    problem = bursty()

    plan = replanned(problem, 1e9)

    once = make_plan("selective-replication", Search(problem))
    assert [window.placement for window in plan.windows] == [once.placement]
    assert plan.attainment == once.attainment


def test_a_window_without_requests_changes_nothing() -> None:
    quiet = posed(spec({"m0": "p"}, 1, 100), profiles(even_profile("p", 0.5, 60)), at(1.0, 500.0, 1000.0))

    assert [window.begin_s for window in replanned(quiet).windows] == [0.0]


@pytest.mark.parametrize("max_simulations", [1, 5, 40])
def test_a_limit_on_simulations_is_kept(max_simulations: int) -> None:
    assert replanned(bursty(), 20.0, max_simulations).num_simulations <= max_simulations


def test_what_fits_nowhere_is_unplaced_with_a_reason() -> None:
    both = profiles(even_profile("small", 0.1, 20), even_profile("large", 0.1, 900))
    problem = posed(spec({"m0": "small", "m1": "large"}, 2, 100), both, at(1.0, 2.0))

    assert [left.model for left in replanned(problem).unplaced] == ["m1"]


def test_a_cluster_that_holds_no_model_is_refused() -> None:
    with pytest.raises(NotPlaced):
        replanned(posed(spec({"m0": "p"}, 2, 10), profiles(even_profile("p", 0.1, 20)), at(1.0)))


@pytest.mark.parametrize("window_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_window_needs_a_length(window_s: float) -> None:
    with pytest.raises(InvalidArgument):
        replanned(bursty(), window_s)


def test_its_document_is_read_back() -> None:
    plan = replanned(taking_turns())

    document = json.loads(json.dumps(placement_document(plan.placement) | {"windows": windows_document(plan.windows)}))

    assert has_windows(document)
    assert parse_timeline(document) == Timeline(plan.windows)
