"""Grounds, states and chains to walk on, and what must hold of every state."""

from dataclasses import replace
from typing import Any

import numpy as np

from services.core.problem import Problem, pose
from services.planner.policies.annealing.chain import Chain, begin_chain
from services.planner.policies.annealing.ground import Ground, fleet_of, groups_of, make_ground, state_of
from services.planner.policies.annealing.terrain import State
from services.planner.policies.improved import groups_held, starting_points
from services.planner.policies.search import Search


def with_models(problem: Problem, **changes: dict[str, Any]) -> Problem:
    """The problem with changed keys of some models, by name."""
    models = tuple(replace(model, **changes.get(model.name, {})) for model in problem.spec.models)
    return pose(replace(problem.spec, models=models), problem.profiles, problem.workload)


def ground_and_state(search: Search, start: int = 0) -> tuple[Ground, State]:
    """Where a walk of the search may begin."""
    ground = make_ground(search, [search.problem.requests])
    return ground, state_of(ground, groups_held(search, starting_points(search)[start]))


def chain_of(search: Search, seed: int = 0) -> Chain:
    ground, state = ground_and_state(search)
    return begin_chain(ground, state, seed)


def check_state(search: Search, ground: Ground, state: State) -> None:
    """The state's sums are right, and what it describes can be placed."""
    num_groups = int(state.num_groups[0])
    held = state.held[:num_groups]
    weights = np.where(held, ground.terrain.weight_bytes[state.config[:num_groups]], 0)
    assert state.used_bytes[:num_groups].tolist() == weights.sum(axis=1).tolist()
    assert state.num_hosts.tolist() == held.sum(axis=0).tolist()
    cluster = search.problem.spec.cluster
    partition, replicas = fleet_of(cluster, search.problem.num_models, groups_of(ground, state))
    fleet = search.fleet(partition)
    assert (fleet.free_bytes(replicas) >= 0).all()
    devices = [device for own in partition.devices for device in own]
    assert len(set(devices)) == len(devices)
    assert set(devices) <= set(range(cluster.num_devices))
    for config, own in zip(partition.configs, partition.devices, strict=True):
        nodes = {cluster.node_of(device) for device in own}
        assert len(own) == config.num_devices
        assert len(nodes) == max(1, config.num_devices // cluster.devices_per_node)
