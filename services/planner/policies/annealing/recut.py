"""The step that changes groups themselves: merge, split or reshape, and settle the models again."""

import numpy as np
from numpy.typing import NDArray

from services.planner.policies.annealing.steps import draw_below, draw_unserved
from services.planner.policies.annealing.terrain import (
    State,
    Terrain,
    add,
    close_group,
    has_room,
    open_group,
    remove,
)

_WIDE_SHARE = 0.1
_ALONE_SHARE = 0.4
_WHOLE_NODE_SHARE = 0.2


def regroup(
    terrain: Terrain,
    state: State,
    unserved: NDArray[np.int64],
    moved: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Recut a random group, alone or with others of its nodes; its models settle on what follows.

    `moved` (num_models,) is overwritten.
    """
    moved[:] = 0
    group = draw_below(rng, state.num_groups[0])
    node = state.node[group]
    num_nodes = terrain.span[state.config[group], node]
    if terrain.has_wide_config and rng.random() < _WIDE_SHARE:
        num_nodes = min(1 + draw_below(rng, len(terrain.node_size)), len(terrain.node_size) - node)
    if num_nodes > 1:
        node, num_nodes = closed_region(terrain, state, node, num_nodes)
        clear_nodes(terrain, state, node, num_nodes, moved)
    else:
        clear_some(terrain, state, group, moved, rng)
    first_new = state.num_groups[0]
    fill_nodes(terrain, state, node, num_nodes, rng)
    resettle(terrain, state, first_new, unserved, moved, rng)


def closed_region(terrain: Terrain, state: State, node: int, num_nodes: int) -> tuple[int, int]:
    """The nodes, and those that groups reaching over their border stand on: first and count."""
    first, end = node, node + num_nodes
    grew = True
    while grew:
        grew = False
        for g in range(state.num_groups[0]):
            begin = state.node[g]
            stop = begin + terrain.span[state.config[g], begin]
            if begin < end and stop > first and (begin < first or stop > end):
                first, end = min(first, begin), max(end, stop)
                grew = True
    return first, end - first


def clear_group(terrain: Terrain, state: State, group: int, moved: NDArray[np.int64]) -> None:
    """Empty and close a group, counting in `moved` what it held."""
    for model in range(len(moved)):
        if state.held[group, model]:
            remove(terrain, state, model, group)
            moved[model] += 1
    close_group(state, group)


def clear_nodes(terrain: Terrain, state: State, node: int, num_nodes: int, moved: NDArray[np.int64]) -> None:
    """Close all groups of these nodes."""
    g = 0
    while g < state.num_groups[0]:
        if node <= state.node[g] < node + num_nodes:
            clear_group(terrain, state, g, moved)
        else:
            g += 1


def clear_some(terrain: Terrain, state: State, group: int, moved: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Close a group; often others of its node as well, now and then all."""
    node = state.node[group]
    clear_group(terrain, state, group, moved)
    share = rng.random()
    if share < _ALONE_SHARE:
        return
    is_whole = share > 1 - _WHOLE_NODE_SHARE
    g = 0
    while g < state.num_groups[0]:
        if state.node[g] == node and (is_whole or rng.random() < 0.5):
            clear_group(terrain, state, g, moved)
            if not is_whole:
                return
        else:
            g += 1


def fill_nodes(terrain: Terrain, state: State, node: int, num_nodes: int, rng: np.random.Generator) -> None:
    """Form new groups on the free devices of these nodes: equal ones of a random config as far as
    they fit, then smaller ones."""
    if num_nodes > 1:
        config = draw_config(terrain, node_devices(terrain, node, num_nodes), rng)
        if config >= 0 and terrain.span[config, node] == num_nodes:
            open_group(state, config, node)
            return
    for n in range(node, node + num_nodes):
        free = terrain.node_size[n] - used_devices(terrain, state, n)
        while free > 0:
            config = draw_config(terrain, free, rng)
            if config < 0:
                break
            while terrain.size[config] <= free:
                open_group(state, config, n)
                free -= terrain.size[config]


def node_devices(terrain: Terrain, node: int, num_nodes: int) -> int:
    total = 0
    for n in range(node, node + num_nodes):
        total += terrain.node_size[n]
    return total


def used_devices(terrain: Terrain, state: State, node: int) -> int:
    """Devices of the node that groups within it take."""
    used = 0
    for g in range(state.num_groups[0]):
        if state.node[g] == node:
            used += terrain.size[state.config[g]]
    return used


def draw_config(terrain: Terrain, num_devices: int, rng: np.random.Generator) -> int:
    """A config of at most so many devices, every size alike, then every config of it; -1 if none."""
    size, num_sizes = 0, 0
    for config in range(len(terrain.size)):
        is_new = terrain.size[config] <= num_devices
        for earlier in range(config):
            is_new = is_new and terrain.size[earlier] != terrain.size[config]
        if is_new:
            num_sizes += 1
            if rng.random() * num_sizes < 1:
                size = terrain.size[config]
    chosen, num_configs = -1, 0
    for config in range(len(terrain.size)):
        if terrain.size[config] == size:
            num_configs += 1
            if rng.random() * num_configs < 1:
                chosen = config
    return chosen


def resettle(
    terrain: Terrain,
    state: State,
    first_new: int,
    unserved: NDArray[np.int64],
    moved: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Fill the groups from `first_new` on: first with models that are nowhere else, then with the
    others that were moved, then with models that have unserved requests."""
    num_models = len(moved)
    for turn in range(2 + state.num_groups[0] - first_new):
        start = draw_below(rng, num_models)
        for offset in range(num_models):
            model = (start + offset) % num_models
            if moved[model] > 0 and (turn > 0 or state.num_hosts[model] == 0):
                place_roomiest(terrain, state, model, first_new)
    for _ in range(4 * (state.num_groups[0] - first_new)):
        place_roomiest(terrain, state, draw_unserved(unserved, rng), first_new)


def place_roomiest(terrain: Terrain, state: State, model: int, first_group: int) -> None:
    """Place a replica on the group with the most memory left, from `first_group` on, if it fits."""
    best = -1
    for g in range(first_group, state.num_groups[0]):
        if has_room(terrain, state, model, g) and (best < 0 or state.used_bytes[g] < state.used_bytes[best]):
            best = g
    if best >= 0:
        add(terrain, state, model, best)
