"""Our own search: never below the published one, on whatever budget, and what else it is asked for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.core.arrivals import gamma_workload
from services.core.problem import Problem
from services.planner.policies.annealing.ground import make_ground, sampled
from services.planner.policies.improved import plan_improved, planned_for
from services.planner.policies.plan import make_plan, with_held_out
from services.planner.policies.published import plan_published
from services.planner.policies.search import Limits, Search
from tests.planner.problems import bursty, even_profile, mixed, posed, profiles, spec


def crowded(num_requests: int = 600) -> Problem:
    """More models than memory holds, on two nodes of which one is not whole."""
    rates = {f"m{i}": 1.0 + i / 10 for i in range(20)}
    return posed(
        spec(dict.fromkeys(rates, "p"), 12, 100, slo_scale=4),
        profiles(even_profile("p", 0.4, 70)),
        gamma_workload(rates, 4.0, num_requests / sum(rates.values()), 0),
    )


def random_problem(seed: int) -> Problem:
    """Anything small: odd nodes, models that need several devices, memory that holds not all."""
    rng = np.random.default_rng(seed)
    kinds = [
        even_profile(f"p{i}", float(rng.uniform(0.05, 1.0)), int(rng.integers(10, 160)))
        for i in range(rng.integers(1, 4))
    ]
    profile_of = {f"m{i}": f"p{rng.integers(len(kinds))}" for i in range(rng.integers(2, 13))}
    document = spec(profile_of, int(rng.integers(1, 13)), 100, slo_scale=float(rng.choice([1.5, 3, 6])))
    document["cluster"]["devices_per_node"] = int(rng.choice([1, 2, 4, 8]))
    rates = {name: float(rng.uniform(0.05, 2.0)) for name in profile_of}
    traffic = gamma_workload(rates, float(rng.choice([1.0, 4.0])), 300 / sum(rates.values()), seed)
    return posed(document, profiles(*kinds), traffic)


@pytest.mark.parametrize("max_simulations", [100, 399, 1_500, None])
@pytest.mark.parametrize("seed", range(12))
def test_on_random_small_problems_neither(seed: int, max_simulations: int | None) -> None:
    problem = random_problem(seed)

    ours = plan_improved(Search(problem, limits=Limits(max_simulations)))
    published = plan_published(Search(problem, limits=Limits(max_simulations)))

    assert ours.num_attained >= published.num_attained


@pytest.mark.parametrize("pose_problem", [bursty, mixed, crowded])
@pytest.mark.parametrize("max_simulations", [1, 9, 150, 600])
def test_it_is_never_below_the_published_search(pose_problem: Callable[[], Problem], max_simulations: int) -> None:
    problem = pose_problem()
    search = Search(problem, limits=Limits(max_simulations))

    ours = plan_improved(search)
    published = plan_published(Search(problem, limits=Limits(max_simulations)))

    assert ours.num_attained >= published.num_attained
    assert search.num_simulations <= max_simulations


def test_it_goes_beyond_the_published_search() -> None:
    ours = plan_improved(Search(crowded(), limits=Limits(2_000)))
    published = plan_published(Search(crowded()))

    assert ours.num_attained > published.num_attained


def test_a_long_workload_is_walked_in_samples_first() -> None:
    problem = crowded(30_000)
    search = Search(problem, limits=Limits(400))

    parts = sampled(problem.requests, 0.25)
    found = plan_improved(search)

    assert sum(len(part.arrival_s) for part in parts) == pytest.approx(0.25 * problem.num_requests, rel=0.01)
    assert parts[0].arrival_s[0] == problem.requests.arrival_s[0]
    assert parts[-1].arrival_s[-1] > 0.9 * problem.requests.arrival_s[-1]
    assert not make_ground(search, parts).is_exact
    assert found.num_attained >= plan_published(Search(problem, limits=Limits(400))).num_attained


def test_resamples_are_planned_for_as_well() -> None:
    search = Search(crowded(), limits=Limits(300), num_resamples=2)

    workloads = planned_for(search)
    found = plan_improved(search)

    assert workloads[0] is search.problem.requests
    assert len(workloads) == 3
    assert len({len(own.arrival_s) for own in workloads}) > 1
    assert found.num_requests == search.problem.num_requests
    assert search.num_simulations <= 300


def test_a_plan_tells_what_it_attains_on_traffic_it_never_saw() -> None:
    problem = crowded(3_000)

    plan = with_held_out(make_plan("alpaserve", Search(problem, limits=Limits(400))), problem, seed=0)

    assert plan.held_out_attainment is not None
    assert 0 < plan.held_out_attainment < 1
    assert plan.held_out_attainment != plan.attainment


def test_threads_find_what_one_core_finds() -> None:
    with ThreadPoolExecutor(4) as threads:
        side_by_side = plan_improved(Search(crowded(), seed=3, limits=Limits(500), pool=threads.map))
    in_turn = plan_improved(Search(crowded(), seed=3, limits=Limits(500)))

    assert side_by_side.replicas.tolist() == in_turn.replicas.tolist()
    assert side_by_side.fleet.partition == in_turn.fleet.partition


def test_a_share_within_a_share_is_a_share_of_it() -> None:
    search = Search(crowded(), limits=Limits(1_000))

    with search.capped(0.04):
        plan_published(search)
        with search.capped(0.5):
            left = search.num_simulations_left()

    assert 20 < search.num_simulations <= 40
    assert left == 0
    assert search.num_simulations_left() == 1_000 - search.num_simulations
