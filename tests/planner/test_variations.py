"""Grids of variations: what a cell is, and that every cell is told once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from services.core.errors import InvalidArgument
from services.core.problem import Problem
from services.planner.policies.bound import attainment_bound
from services.planner.policies.plan import Plan, make_plan
from services.planner.policies.search import Limits, Search
from services.planner.policies.variations import (
    MOST_REQUESTS,
    Axes,
    Scenario,
    explore,
    is_over,
    scaled,
    share_of,
    varied,
)
from tests.planner.problems import bursty


def searched(policy: str, problem: Problem, limits: Limits) -> Plan:
    return make_plan(policy, Search(problem, limits=limits))


def backwards(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
    return map(function, reversed(items))


def test_a_scenario_changes_what_it_names_and_nothing_else() -> None:
    problem = bursty()

    changed = varied(problem, Scenario(4, rate_scale=2.0, cv_scale=0.5, slo_scale=3.0), seed=1)
    same = varied(problem, Scenario(8), seed=1)

    assert changed.spec.cluster.num_devices == 4
    assert changed.num_requests == pytest.approx(2 * problem.num_requests, rel=0.1)
    assert changed.slo_s.tolist() == [3.0 * 0.4] * changed.num_requests
    assert np.array_equal(same.workload.arrival_s, problem.workload.arrival_s)
    assert np.array_equal(same.slo_s, problem.slo_s)


@pytest.mark.parametrize("pool", [map, backwards])
def test_every_cell_is_told_once_with_its_bound(pool: Any) -> None:
    problem = bursty(num_models=3)
    axes = Axes(("uniform", "selective-replication"), (2, 4), slo_scales=(2.0, 5.0))

    cells = list(explore(problem, axes, searched, Limits(400), 0, pool))

    assert {(cell.policy, cell.scenario) for cell in cells} == {
        (policy, scenario) for policy in axes.policies for scenario in axes.scenarios
    }
    assert len(cells) == 8
    assert all(cell.upper_bound == attainment_bound(varied(problem, cell.scenario, 0)) for cell in cells)
    assert all(0 < cell.attainment <= (cell.upper_bound or 0) for cell in cells)


def test_a_cell_attains_what_its_plan_alone_would() -> None:
    problem = bursty(num_models=3)
    axes = Axes(("alpaserve",), (2, 4), rate_scales=(1.0, 2.0))

    cells = list(explore(problem, axes, searched, Limits(400), 7, map))

    cell = next(cell for cell in cells if cell.scenario == Scenario(4, 2.0))
    alone = searched("alpaserve", varied(problem, Scenario(4, 2.0), 7), Limits(100))
    assert (cell.attainment, cell.num_simulations) == (alone.attainment, alone.num_simulations)


def test_a_config_too_wide_for_a_small_cluster_attains_nothing_there() -> None:
    axes = Axes(("fixed-4x1",), (2, 4))

    cells = sorted(explore(bursty(), axes, searched, Limits(10), 0, map), key=lambda cell: cell.scenario.num_devices)

    assert [(cell.attainment > 0, cell.num_simulations > 0) for cell in cells] == [(False, False), (True, True)]


def test_a_config_too_wide_for_every_cluster_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        list(explore(bursty(), Axes(("fixed-8x8",), (2, 4)), searched, Limits(10), 0, map))


def test_an_axis_without_values_stays_what_it_is() -> None:
    axes = Axes.of(bursty(), ["ilp"], num_devices=(), rate_scales=(), cv_scales=(2.0,), slo_scales=())

    assert axes.scenarios == [Scenario(bursty().spec.cluster.num_devices, cv_scale=2.0)]


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"policies": ()}, "policies"),
        ({"policies": ("guess",)}, "guess"),
        ({"num_devices": (4, 4)}, "num_devices"),
        ({"num_devices": (0,)}, "num_devices"),
        ({"rate_scales": (float("nan"),)}, "rate_scales"),
        ({"cv_scales": (-1.0,)}, "cv_scales"),
        ({"slo_scales": (float("inf"),)}, "slo_scales"),
    ],
)
def test_axes_that_mean_nothing_are_refused(axes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        Axes(**({"policies": ("alpaserve",), "num_devices": (4,)} | axes))


def test_far_too_many_requests_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(InvalidArgument, match="at most"):
        scaled(bursty().workload, MOST_REQUESTS, 1.0, 0)


def test_searches_share_simulations_and_time() -> None:
    elapsed = [0.0]
    limits = Limits(100, lambda: elapsed[0])

    first = share_of(limits, 10, num_at_once=2)
    elapsed[0] = 0.1
    assert first.max_simulations == 10
    assert first.share_of_time is not None
    assert first.share_of_time() == pytest.approx(0.5)

    elapsed[0] = 1.0
    assert first.share_of_time() == 1.0
    assert is_over(limits)
    assert share_of(Limits(), 10) == Limits()
