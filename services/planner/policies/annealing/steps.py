"""Small changes of a filled fleet, drawn at random and made in place: what the walk steps by.

Each returns whether it changed anything. `unserved` (num_models,) are the missed requests of the
state before the change, `served` (num_models,) the attained ones.
"""

import numpy as np
from numpy.typing import NDArray

from services.planner.policies.annealing.terrain import State, Terrain, add, has_room, may_hold, remove

# How often a model with nothing unserved is drawn, in unserved requests.
_SERVED_WEIGHT = 0.1
_TRIES = 8


def draw_below(rng: np.random.Generator, bound: int) -> int:
    """An index below `bound`, all alike."""
    return int(rng.random() * bound)


def draw_unserved(unserved: NDArray[np.int64], rng: np.random.Generator) -> int:
    """A model, about as likely as it has unserved requests."""
    total = 0.0
    for model in range(len(unserved)):
        total += unserved[model] + _SERVED_WEIGHT
    left = rng.random() * total
    for model in range(len(unserved)):
        left -= unserved[model] + _SERVED_WEIGHT
        if left < 0:
            return model
    return len(unserved) - 1


def draw_held(state: State, group: int, rng: np.random.Generator) -> int:
    """A model of the group, -1 if it is empty."""
    num_models = len(state.num_hosts)
    start = draw_below(rng, num_models)
    for offset in range(num_models):
        model = (start + offset) % num_models
        if state.held[group, model]:
            return model
    return -1


def draw_cheap(terrain: Terrain, state: State, group: int, served: NDArray[np.int64], rng: np.random.Generator) -> int:
    """Of two models of the group the one that serves less per byte; -1 if it is empty."""
    first, second = draw_held(state, group, rng), draw_held(state, group, rng)
    if first < 0:
        return -1
    weight_bytes = terrain.weight_bytes[state.config[group]]
    value = served[first] / (state.num_hosts[first] * weight_bytes[first])
    other = served[second] / (state.num_hosts[second] * weight_bytes[second])
    return second if other < value else first


def settle(terrain: Terrain, state: State, model: int, first_group: int, rng: np.random.Generator) -> bool:
    """Place the model on a random group with room, from `first_group` on."""
    num_groups = state.num_groups[0] - first_group
    start = draw_below(rng, num_groups)
    for offset in range(num_groups):
        group = first_group + (start + offset) % num_groups
        if has_room(terrain, state, model, group):
            add(terrain, state, model, group)
            return True
    return False


def insert(
    terrain: Terrain, state: State, unserved: NDArray[np.int64], served: NDArray[np.int64], rng: np.random.Generator
) -> bool:
    """Give a model, most likely one with many unserved requests, to a group; others leave for it.

    A model that loses its only group moves to another one if there is room.
    """
    model = draw_unserved(unserved, rng)
    for _ in range(_TRIES):
        group = draw_below(rng, state.num_groups[0])
        if not state.held[group, model] and may_hold(terrain, state, model, group):
            add(terrain, state, model, group)
            while state.used_bytes[group] > terrain.memory_bytes:
                other = draw_cheap(terrain, state, group, served, rng)
                if other == model:
                    other = draw_held(state, group, rng)
                if other != model:
                    remove(terrain, state, other, group)
                    if state.num_hosts[other] == 0:
                        settle(terrain, state, other, 0, rng)
            return True
    return False


def move(terrain: Terrain, state: State, rng: np.random.Generator) -> bool:
    """Take one replica to another group with room."""
    group = draw_below(rng, state.num_groups[0])
    model = draw_held(state, group, rng)
    if model < 0:
        return False
    for _ in range(_TRIES):
        goal = draw_below(rng, state.num_groups[0])
        if has_room(terrain, state, model, goal):
            remove(terrain, state, model, group)
            add(terrain, state, model, goal)
            return True
    return False


def swap(terrain: Terrain, state: State, rng: np.random.Generator) -> bool:
    """Exchange two models between two groups."""
    g, h = draw_below(rng, state.num_groups[0]), draw_below(rng, state.num_groups[0])
    a, b = draw_held(state, g, rng), draw_held(state, h, rng)
    if g == h or a < 0 or b < 0 or state.held[h, a] or state.held[g, b]:
        return False
    remove(terrain, state, a, g)
    remove(terrain, state, b, h)
    fits = has_room(terrain, state, a, h) and has_room(terrain, state, b, g)
    add(terrain, state, a, h if fits else g)
    add(terrain, state, b, g if fits else h)
    return fits


def drop(terrain: Terrain, state: State, rng: np.random.Generator) -> bool:
    """Remove one replica of a model that has several."""
    for _ in range(_TRIES):
        group = draw_below(rng, state.num_groups[0])
        model = draw_held(state, group, rng)
        if model >= 0 and state.num_hosts[model] > 1:
            remove(terrain, state, model, group)
            return True
    return False
