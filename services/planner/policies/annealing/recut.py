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

# How often several nodes are recut at once, where some config needs that.
_WIDE_SHARE = 0.3
_ALONE_SHARE = 0.4
_WHOLE_NODE_SHARE = 0.2


def regroup(
    terrain: Terrain,
    state: State,
    unserved: NDArray[np.int64],
    moved: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Recut a random node, or some of its groups, or several nodes in a row; what stood there settles
    on what follows. Nodes without groups get some as well. `moved` (num_models,) is overwritten.
    """
    moved[:] = 0
    num_all = len(terrain.node_size)
    node, num_nodes = draw_below(rng, num_all), 1
    if terrain.most_span > 1 and rng.random() < _WIDE_SHARE:
        num_nodes = 1 + draw_below(rng, 2 * terrain.most_span)
        node = max(node - draw_below(rng, num_nodes), 0)
        num_nodes = min(num_nodes, num_all - node)
    node, num_nodes = closed_region(terrain, state, node, num_nodes)
    if num_nodes > 1:
        clear_nodes(terrain, state, node, num_nodes, moved)
    else:
        clear_some(terrain, state, node, moved, rng)
    first_new = state.num_groups[0]
    fill_nodes(terrain, state, node, num_nodes, rng)
    if state.num_groups[0] > first_new:
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


def clear_some(terrain: Terrain, state: State, node: int, moved: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Close a group of the node, often two, now and then all."""
    share = rng.random()
    if share > 1 - _WHOLE_NODE_SHARE:
        clear_nodes(terrain, state, node, 1, moved)
        return
    for _ in range(1 if share < _ALONE_SHARE else 2):
        group = draw_group(state, node, rng)
        if group >= 0:
            clear_group(terrain, state, group, moved)


def draw_group(state: State, node: int, rng: np.random.Generator) -> int:
    """A group of the node, all alike; -1 if there is none."""
    chosen, count = -1, 0
    for g in range(state.num_groups[0]):
        if state.node[g] == node:
            count += 1
            if rng.random() * count < 1:
                chosen = g
    return chosen


def fill_nodes(terrain: Terrain, state: State, node: int, num_nodes: int, rng: np.random.Generator) -> None:
    """Form new groups on the free devices of these nodes: here and there one over several nodes,
    else on each node equal ones of a random config as far as they fit, then smaller ones."""
    n = node
    while n < node + num_nodes:
        wide = draw_wide(terrain, n, node + num_nodes - n, rng) if num_nodes > 1 else -1
        if wide >= 0 and rng.random() < 0.5:
            open_group(state, wide, n)
            n += terrain.span[wide, n]
            continue
        fill_node(terrain, state, n, rng)
        n += 1


def fill_node(terrain: Terrain, state: State, node: int, rng: np.random.Generator) -> None:
    free = terrain.node_size[node] - used_devices(terrain, state, node)
    while free > 0:
        config = draw_config(terrain, free, rng)
        if config < 0:
            return
        while terrain.size[config] <= free:
            open_group(state, config, node)
            free -= terrain.size[config]


def draw_wide(terrain: Terrain, node: int, num_nodes: int, rng: np.random.Generator) -> int:
    """A config that stands on several, at most so many, nodes from this one on; -1 if there is none."""
    chosen, count = -1, 0
    for config in range(len(terrain.size)):
        if 1 < terrain.span[config, node] <= num_nodes:
            count += 1
            if rng.random() * count < 1:
                chosen = config
    return chosen


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
