"""Whatever a move proposes can be placed, and the state it starts from stays as it was."""

import numpy as np
import pytest

from services.core.profile import ParallelConfig
from services.planner.policies.greedy import fill_greedily
from services.planner.policies.moves import Move, drop, insert, move, swap
from services.planner.policies.partition import uniform_partition
from services.planner.policies.regrouping import regroup
from services.planner.policies.search import Evaluation, Search
from tests.planner.problems import mixed

STEPS = 300


def with_some_room(search: Search, rng: np.random.Generator) -> Evaluation:
    """Pairs of devices, filled, less three replicas."""
    partition = uniform_partition(search.problem.spec.cluster, ParallelConfig(2, 1), search.is_useful)
    state = fill_greedily(search, search.fleet(partition))
    for _ in range(3):
        change = drop(search, state, rng)
        assert change is not None
        state = search.simulate(*change)
    return state


@pytest.mark.parametrize("propose", [insert, move, swap, drop, regroup])
def test_moves_respect_memory_and_devices(propose: Move) -> None:
    search, rng = Search(mixed()), np.random.default_rng(0)
    state = with_some_room(search, rng)
    num_changes = 0

    for _ in range(STEPS):
        before = state.replicas.copy()
        change = propose(search, state, rng)
        assert (state.replicas == before).all()
        if change is None:
            continue
        fleet, replicas = change
        assert (fleet.free_bytes(replicas) >= 0).all()
        assert sorted(device for devices in fleet.partition.devices for device in devices) == list(range(8))
        state = search.simulate(fleet, replicas)
        num_changes += 1

    assert num_changes > 0


def test_dropping_leaves_every_model_its_last_replica() -> None:
    search, rng = Search(mixed()), np.random.default_rng(0)
    partition = uniform_partition(search.problem.spec.cluster, ParallelConfig(4, 1), search.is_useful)
    state = fill_greedily(search, search.fleet(partition))
    placed = state.replicas.any(axis=1)

    while (change := drop(search, state, rng)) is not None:
        state = search.simulate(*change)

    assert state.replicas.sum(axis=1).tolist() == placed.astype(int).tolist()


def test_regrouping_reaches_groups_of_every_size() -> None:
    search, rng = Search(mixed()), np.random.default_rng(1)
    state = with_some_room(search, rng)
    sizes = set()

    for _ in range(STEPS):
        change = regroup(search, state, rng)
        if change is not None:
            state = search.simulate(*change)
            sizes |= {config.num_devices for config in state.fleet.partition.configs}

    assert sizes == {1, 2, 4, 8}
