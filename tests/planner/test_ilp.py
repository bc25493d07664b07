"""The integer programme makes the smallest replicas × throughput / rate as large as can be."""

from itertools import product

import numpy as np
import pytest

from services.core.problem import Problem
from services.core.profile import ParallelConfig
from services.core.workload import workload_from_arrivals
from services.planner.policies.ilp import balanced_replicas, load_shares, packed_evenly, smallest_share
from services.planner.policies.partition import uniform_partition
from services.planner.policies.plan import make_plan
from services.planner.policies.search import Fleet, Limits, Replicas, Search
from tests.planner.problems import bursty, entry, even_profile, mixed, posed, profiles, spec


def weighted(seed: int) -> Problem:
    """Three models of random weights and numbers of requests on three devices of 100 bytes."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(15, 70, 3)
    both = profiles(*(even_profile(f"p{i}", 0.2 * (i + 1), int(weights[i])) for i in range(3)))
    arrivals = {f"m{i}": np.sort(rng.random(int(rng.integers(5, 40)))) * 60 for i in range(3)}
    return posed(
        spec({f"m{i}": f"p{i}" for i in range(3)}, 3, 100, slo_scale=5), both, workload_from_arrivals(arrivals)
    )


def single_devices(search: Search) -> Fleet:
    return search.fleet(uniform_partition(search.problem.spec.cluster, ParallelConfig(1, 1), search.is_useful))


def balanced(search: Search, fleet: Fleet) -> Replicas:
    shares = load_shares(search.problem, fleet)
    start = packed_evenly(fleet, shares, search.problem.workload.num_requests_of)
    return balanced_replicas(fleet, shares, start)


def largest_smallest_share(search: Search, fleet: Fleet) -> float:
    """By trying everything that places all models."""
    shares = load_shares(search.problem, fleet)
    every = (np.array(held, dtype=np.bool_).reshape(shares.shape) for held in product((False, True), repeat=9))
    fitting = (held for held in every if (fleet.free_bytes(held) >= 0).all() and held.any(axis=1).all())
    return max((smallest_share(shares, held) for held in fitting), default=0.0)


@pytest.mark.parametrize("seed", range(12))
def test_the_smallest_share_is_the_largest_possible(seed: int) -> None:
    search = Search(weighted(seed))
    fleet = single_devices(search)

    replicas = balanced(search, fleet)

    best = largest_smallest_share(search, fleet)
    found = smallest_share(load_shares(search.problem, fleet), replicas)
    assert (fleet.free_bytes(replicas) >= 0).all()
    assert not best or found == pytest.approx(best, rel=2e-3)


def test_a_model_with_twice_the_requests_gets_twice_the_replicas() -> None:
    times = np.linspace(0, 60, 40)
    workload = workload_from_arrivals({"busy": times, "calm": times[::2]})
    document = spec({"busy": "p", "calm": "p"}, 3, 100, slo_scale=5)
    search = Search(posed(document, profiles(even_profile("p", 0.4, 60)), workload))

    replicas = balanced(search, single_devices(search))

    assert replicas.sum(axis=1).tolist() == [2, 1]


def test_where_not_all_models_fit_the_most_requested_ones_are_placed() -> None:
    times = np.linspace(0, 60, 40)
    workload = workload_from_arrivals({"calm": times[::4], "busy": times})
    document = spec({"calm": "p", "busy": "p"}, 1, 100, slo_scale=5)
    search = Search(posed(document, profiles({"model": "p", "profiles": [entry(1, 1, 0.4, 60)]}), workload))

    made = make_plan("ilp", search)

    assert made.placement.groups[0].models == ("busy",)
    assert [left.model for left in made.unplaced] == ["calm"]


@pytest.mark.parametrize("budget", [1, 3, 20])
def test_a_budget_is_kept(budget: int) -> None:
    made = make_plan("ilp", Search(mixed(), limits=Limits(budget)))

    assert made.num_simulations <= budget
    assert made.attainment > 0


def test_balance_alone_beats_replication_on_bursts() -> None:
    replicated = make_plan("selective-replication", Search(bursty()))

    assert make_plan("ilp", Search(bursty())).attainment > replicated.attainment
