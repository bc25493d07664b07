"""The walk's steps, its judgement, and the chains it is cut into."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from services.core.arrivals import gamma_workload
from services.core.problem import Problem
from services.core.simulator import simulate_counts
from services.planner.policies.annealing import chain as chains
from services.planner.policies.annealing.chain import Chain, Leg, run_leg
from services.planner.policies.annealing.cooling import cool
from services.planner.policies.annealing.ground import empty_state, fleet_of, groups_of, make_bench, make_ground
from services.planner.policies.annealing.recut import regroup
from services.planner.policies.annealing.steps import drop, insert, move, swap
from services.planner.policies.annealing.terrain import State, Terrain, copy_state, remove
from services.planner.policies.annealing.walk import walk
from services.planner.policies.search import Limits, Search
from tests.planner.grounds import chain_of, check_state, ground_and_state, with_models
from tests.planner.problems import bursty, even_profile, mixed, posed, profiles, spec

Step = Callable[[Terrain, State, np.random.Generator], object]


def inserting(terrain: Terrain, state: State, rng: np.random.Generator) -> object:
    return insert(terrain, state, terrain.num_requests, terrain.num_requests, rng)


def regrouping(terrain: Terrain, state: State, rng: np.random.Generator) -> object:
    regroup(terrain, state, terrain.num_requests, np.zeros_like(terrain.num_requests), rng)
    return True


def thin_out(terrain: Terrain, state: State, group: int, rng: np.random.Generator) -> None:
    """Leave the group one model, so that steps find room."""
    for model in rng.permutation(np.flatnonzero(state.held[group]))[1:]:
        remove(terrain, state, int(model), group)


def several_nodes() -> Problem:
    """Three nodes of four, four and two devices, a model that needs two whole ones, and pins."""
    problem = posed(
        spec({"wide": "wide", "a": "p", "b": "p", "c": "p"}, 10, 100, slo_scale=20) | _SMALL_NODES,
        profiles(even_profile("p", 0.4, 60), even_profile("wide", 2.0, 500)),
        gamma_workload(dict.fromkeys(("wide", "a", "b", "c"), 0.3), 2.0, 100.0, 0),
    )
    return with_models(problem, a={"nodes": (2,)}, b={"min_nodes": 2})


_SMALL_NODES = {"cluster": {"num_devices": 10, "devices_per_node": 4, "memory_bytes": 100}}
PROBLEMS = (bursty, mixed, several_nodes)


@pytest.mark.parametrize("pose_problem", PROBLEMS)
@pytest.mark.parametrize("step", [inserting, move, swap, drop, regrouping])
def test_steps_respect_memory_devices_and_pins(step: Step, pose_problem: Callable[[], Problem]) -> None:
    search, rng = Search(pose_problem()), np.random.default_rng(0)
    ground, state = ground_and_state(search)
    num_changes = 0

    for _ in range(60):
        regrouping(ground.terrain, state, rng)
        for group in range(int(state.num_groups[0])):
            thin_out(ground.terrain, state, group, rng)
        for _ in range(5):
            num_changes += step(ground.terrain, state, rng) is not False
            check_state(search, ground, state)

    assert num_changes > 10


def test_dropping_leaves_every_model_its_last_replica() -> None:
    search, rng = Search(mixed()), np.random.default_rng(0)
    ground, state = ground_and_state(search)
    placed = state.num_hosts > 0

    for _ in range(300):
        drop(ground.terrain, state, rng)

    assert state.num_hosts.tolist() == placed.astype(int).tolist()


def test_regrouping_reaches_every_config_and_groups_of_several_nodes() -> None:
    search, rng = Search(several_nodes()), np.random.default_rng(1)
    ground, state = ground_and_state(search)
    seen = set()

    for _ in range(300):
        regrouping(ground.terrain, state, rng)
        seen |= {ground.configs[config] for config in state.config[: int(state.num_groups[0])]}

    assert seen == set(ground.configs)
    assert max(config.num_devices for config in seen) == 8


@pytest.mark.parametrize("dispatch", ["earliest-free", "shortest-queue", "earliest-finish"])
def test_a_leg_compiled_is_a_leg_interpreted(dispatch: str) -> None:
    search = Search(mixed(), dispatch)
    begun = chain_of(search)
    ground = begun.ground
    current, proposed, best = (empty_state(ground.most_groups, search.problem.num_models) for _ in range(3))
    copy_state(begun.current, current)
    score = begun.score.copy()

    compiled = run_leg(Leg(chain_of(search), 60, 5.0, 1.0))
    num_simulations = walk(
        ground.rule,
        ground.terrain,
        ground.requests,
        ground.blocks,
        make_bench(ground),
        current,
        proposed,
        best,
        score,
        60,
        5.0,
        1.0,
        begun.rng,
    )

    assert compiled.num_simulations == num_simulations
    assert compiled.score.tolist() == score.tolist()
    assert groups_of(ground, compiled.best) == groups_of(ground, best)


@pytest.mark.parametrize("pose_problem", PROBLEMS)
def test_what_a_chain_claims_is_what_a_simulation_says(pose_problem: Callable[[], Problem]) -> None:
    search = Search(pose_problem())

    chain = run_leg(Leg(chain_of(search), 300, 5.0, 0.2))

    check_state(search, chain.ground, chain.best)
    partition, replicas = fleet_of(
        search.problem.spec.cluster, search.problem.num_models, groups_of(chain.ground, chain.best)
    )
    counts = simulate_counts(search.problem, search.problem.layout(search.fleet(partition).lanes, replicas), 0)
    assert chain.attained == counts.attained.sum()


def test_a_leg_leaves_the_chain_it_begins_with_and_never_loses_its_best() -> None:
    search = Search(mixed())
    first = run_leg(Leg(chain_of(search), 50, 5.0, 5.0))
    before = pickle.dumps((first.current, first.best, first.score))

    second = run_leg(Leg(first, 50, 5.0, 5.0))

    assert pickle.dumps((first.current, first.best, first.score)) == before
    assert second.best_score >= first.best_score
    assert second.num_simulations > first.num_simulations


def test_several_workloads_are_walked_from_idle_clocks_each() -> None:
    search = Search(mixed())
    once, state = ground_and_state(search)
    twice = make_ground(search, [search.problem.requests, search.problem.requests])

    chain = run_leg(Leg(chains.begin_chain(once, state, 0), 0, 1.0, 1.0))
    double = run_leg(Leg(chains.begin_chain(twice, state, 0), 0, 1.0, 1.0))

    assert double.attained == 2 * chain.attained


def crowded() -> Problem:
    """More than four devices can serve, of models that do not all fit twice."""
    rates = {f"m{i}": 1.0 + i / 10 for i in range(12)}
    return posed(
        spec(dict.fromkeys(rates, "p"), 4, 100, slo_scale=4),
        profiles(even_profile("p", 0.4, 25)),
        gamma_workload(rates, 4.0, 60.0, 0),
    )


def _cooled(pool: Any, max_simulations: int) -> tuple[Search, list[Chain]]:
    search = Search(crowded(), limits=Limits(max_simulations), pool=pool)
    ground, state = ground_and_state(search)
    rivals = [chains.begin_chain(ground, state, seed) for seed in range(4)]
    (part,) = cool(search, [rivals], 0.9, None)
    return search, part


@pytest.mark.parametrize("max_simulations", [9, 40, 500])
def test_cooling_keeps_its_budget(max_simulations: int) -> None:
    search, part = _cooled(map, max_simulations)

    assert 0 < search.num_simulations <= max(0.9 * max_simulations, 6)
    assert len(part) == 4


def test_rivals_are_told_best_first_and_copies_draw_their_own_numbers() -> None:
    _, part = _cooled(map, 500)

    scores = [chain.best_score for chain in part]
    assert scores == sorted(scores, reverse=True)
    assert len({chain.rng.bit_generator.state["state"]["state"] for chain in part}) == 4


def test_cooling_finds_the_same_on_any_number_of_cores() -> None:
    with ThreadPoolExecutor(3) as threads:
        _, side_by_side = _cooled(threads.map, 600)
    _, in_turn = _cooled(map, 600)

    assert [chain.best_score for chain in side_by_side] == [chain.best_score for chain in in_turn]
    assert side_by_side[0].best.held.tolist() == in_turn[0].best.held.tolist()


def test_cooling_ends_when_everything_is_attained() -> None:
    idle = posed(
        spec({"m": "p"}, 8, 100, slo_scale=50),
        profiles(even_profile("p", 0.1, 10)),
        gamma_workload({"m": 0.5}, 1.0, 50.0, 0),
    )
    search = Search(idle)
    ground, state = ground_and_state(search)

    ((best, *_),) = cool(search, [[chains.begin_chain(ground, state, 0)]], 1.0, 10_000)

    assert best.attained == idle.num_requests
    assert search.num_simulations < 100
