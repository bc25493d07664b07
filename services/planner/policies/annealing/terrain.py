"""The local search's view of a problem: flat tables of what may be placed, and the state it walks.

Functions here and in `steps` and `walk` are in the subset that numba compiles. Groups are numbered
as in the placement; devices of a node are alike, so a group is a config on a node, or on as many
whole nodes in a row as it needs.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Terrain(NamedTuple):
    """What never changes on a walk.

    `weight_bytes` (num_configs, num_models) per device; `size` and `num_stages` (num_configs,);
    `latency_s` (num_configs, num_profiles, most stages); `profile_row` (num_models,); `node_size`
    (num_nodes,) in devices; `span` (num_configs, num_nodes), how many nodes a group of the config
    on this first node stands on, 0 if there are not as many; `fits` (num_configs, num_nodes,
    num_models), whether such a group could hold the model if it were empty; `min_nodes` and
    `num_requests` (num_models,); `most_span`, the largest of `span`.
    """

    weight_bytes: NDArray[np.int64]
    size: NDArray[np.int64]
    num_stages: NDArray[np.int64]
    latency_s: NDArray[np.float64]
    profile_row: NDArray[np.int32]
    node_size: NDArray[np.int64]
    span: NDArray[np.int64]
    fits: NDArray[np.bool_]
    min_nodes: NDArray[np.int64]
    num_requests: NDArray[np.int64]
    memory_bytes: int
    request_overhead_s: float
    most_span: int


class State(NamedTuple):
    """A filled fleet that is changed in place.

    `num_groups` (1,); per group `config`, first `node` and `used_bytes` (most groups,); `held`
    (most groups, num_models) and its sums `num_hosts` (num_models,).
    """

    num_groups: NDArray[np.int64]
    config: NDArray[np.int64]
    node: NDArray[np.int64]
    used_bytes: NDArray[np.int64]
    held: NDArray[np.bool_]
    num_hosts: NDArray[np.int64]


def copy_into(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy a row: numba's own assignment of arrays would allocate."""
    for i in range(len(source)):
        target[i] = source[i]


def copy_state(source: State, target: State) -> None:
    """Make `target` equal to `source`."""
    num_groups = source.num_groups[0]
    target.num_groups[0] = num_groups
    for g in range(num_groups):
        target.config[g] = source.config[g]
        target.node[g] = source.node[g]
        target.used_bytes[g] = source.used_bytes[g]
        copy_into(source.held[g], target.held[g])
    copy_into(source.num_hosts, target.num_hosts)


def may_hold(terrain: Terrain, state: State, model: int, group: int) -> bool:
    """Whether the group could hold the model if it were empty."""
    return bool(terrain.fits[state.config[group], state.node[group], model])


def has_room(terrain: Terrain, state: State, model: int, group: int) -> bool:
    """Whether the group, which lacks the model, has room for it beside what it holds."""
    if state.held[group, model] or not terrain.fits[state.config[group], state.node[group], model]:
        return False
    used_bytes = state.used_bytes[group] + terrain.weight_bytes[state.config[group], model]
    return bool(used_bytes <= terrain.memory_bytes)


def add(terrain: Terrain, state: State, model: int, group: int) -> None:
    """Place a replica."""
    state.held[group, model] = True
    state.used_bytes[group] += terrain.weight_bytes[state.config[group], model]
    state.num_hosts[model] += 1


def remove(terrain: Terrain, state: State, model: int, group: int) -> None:
    """Take a replica away."""
    state.held[group, model] = False
    state.used_bytes[group] -= terrain.weight_bytes[state.config[group], model]
    state.num_hosts[model] -= 1


def open_group(state: State, config: int, node: int) -> int:
    """Add an empty group at the end; its index."""
    group = int(state.num_groups[0])
    state.num_groups[0] += 1
    state.config[group] = config
    state.node[group] = node
    state.used_bytes[group] = 0
    state.held[group, :] = False
    return group


def close_group(state: State, group: int) -> None:
    """Remove a group that holds nothing any more; the last one takes its index."""
    last = state.num_groups[0] - 1
    state.num_groups[0] = last
    state.config[group] = state.config[last]
    state.node[group] = state.node[last]
    state.used_bytes[group] = state.used_bytes[last]
    copy_into(state.held[last], state.held[group])


def shortfall(terrain: Terrain, state: State) -> int:
    """Nodes that models spread by the user still lack."""
    missing = 0
    for model in range(len(terrain.min_nodes)):
        if terrain.min_nodes[model] > 1:
            missing += max(int(terrain.min_nodes[model]) - num_nodes_touched(terrain, state, model), 0)
    return missing


def num_nodes_touched(terrain: Terrain, state: State, model: int) -> int:
    """Nodes on which some group holds the model."""
    count = 0
    for node in range(len(terrain.node_size)):
        for g in range(state.num_groups[0]):
            span = terrain.span[state.config[g], state.node[g]]
            if state.held[g, model] and state.node[g] <= node < state.node[g] + span:
                count += 1
                break
    return count
