"""The beam search of algorithm 1: exact where it is wide, never beyond what is best, within its budget."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from services.core.arrivals import gamma_workload
from services.core.problem import Problem
from services.core.profile import ParallelConfig
from services.planner.policies.beam import fill_by_beam
from services.planner.policies.greedy import fill_greedily
from services.planner.policies.partition import uniform_partition
from services.planner.policies.plan import make_plan
from services.planner.policies.search import Evaluation, Fleet, Limits, Replicas, Search
from tests.planner.problems import bursty, even_profile, mixed, posed, profiles, spec


def tiny(seed: int) -> Problem:
    """Three models of which two fit a device, on three devices."""
    names = ("m0", "m1", "m2")
    workload = gamma_workload(dict(zip(names, (1.0, 0.6, 0.3), strict=True)), 3.0, 60.0, seed)
    return posed(spec(dict.fromkeys(names, "p"), 3, 100, slo_scale=3), profiles(even_profile("p", 0.5, 45)), workload)


def single_devices(search: Search) -> Fleet:
    partition = uniform_partition(search.problem.spec.cluster, ParallelConfig(1, 1), search.is_useful)
    return search.fleet(partition)


def every_filling(fleet: Fleet) -> Iterator[Replicas]:
    for held in product((False, True), repeat=fleet.weight_bytes.size):
        replicas = np.array(held, dtype=np.bool_).reshape(fleet.weight_bytes.shape)
        if (fleet.free_bytes(replicas) >= 0).all():
            yield replicas


def best_of_all(search: Search) -> Evaluation:
    fleet = single_devices(search)
    found = (search.simulate(fleet, replicas) for replicas in every_filling(fleet))
    return max(found, key=lambda filled: filled.published_score)


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_what_trying_everything_finds(seed: int) -> None:
    search = Search(tiny(seed))

    found = fill_by_beam(search, single_devices(search), width=1000)

    assert found.published_score == pytest.approx(best_of_all(search).published_score, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_narrow_beam_is_never_above_what_trying_everything_finds_and_not_far_below(seed: int, width: int) -> None:
    search = Search(tiny(seed))

    found = fill_by_beam(search, single_devices(search), width=width)

    best = best_of_all(search).published_score
    assert best - 0.05 <= found.published_score <= best + 1e-12


def test_the_beam_does_no_worse_than_the_greedy_on_bursts() -> None:
    search = Search(bursty(4, 4))
    fleet = single_devices(search)

    assert fill_by_beam(search, fleet, width=2).published_score >= fill_greedily(search, fleet).published_score


def test_equal_solutions_are_simulated_once() -> None:
    """Three devices that hold nothing are one choice: a model each, for three models."""
    search = Search(tiny(0), limits=Limits(max_simulations=1000))

    fill_by_beam(search, single_devices(search), width=1)

    first_round, most_groups, most_replicas = 3, 3, 6
    assert search.num_simulations <= first_round + (most_replicas - 1) * 3 * most_groups


@pytest.mark.parametrize("budget", [1, 2, 5, 30])
def test_a_beam_keeps_its_budget_and_fills_by_estimate_when_it_ends(budget: int) -> None:
    search = Search(mixed(), limits=Limits(budget))

    found = fill_by_beam(search, single_devices(search), width=3)

    assert search.num_simulations <= budget
    assert found.replicas.sum() > 1


def test_the_published_search_uses_the_beam_by_name() -> None:
    made = make_plan("alpaserve-paper-beam1", Search(tiny(0)))

    assert made.policy == "alpaserve-paper-beam1"
    assert made.attainment >= make_plan("alpaserve-paper", Search(tiny(0))).attainment - 0.02
