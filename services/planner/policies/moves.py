"""Small changes of a filled fleet, drawn at random: what the local search steps by.

Each returns the fleet and its new replicas, or None where the draw allows no such change.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.planner.policies.search import Evaluation, Fleet, Replicas, Search

Change = tuple[Fleet, Replicas]
Move = Callable[[Search, Evaluation, np.random.Generator], Change | None]

# How often a model with nothing unserved is drawn, in unserved requests.
_SERVED_WEIGHT = 0.1


def insert(search: Search, state: Evaluation, rng: np.random.Generator) -> Change | None:
    """Give a model, most likely one with many unserved requests, to a group; others leave for it.

    A model that loses its only group moves to another one if there is room.
    """
    fleet, replicas = state.fleet, state.replicas.copy()
    unserved = search.problem.workload.num_requests_of - state.counts.attained
    model = _draw(unserved, rng)
    group = _pick(~replicas[model] & (fleet.weight_bytes[model] <= fleet.memory_bytes), rng)
    if group is None:
        return None
    weight_bytes = fleet.weight_bytes[:, group]
    free_bytes = int(fleet.free_bytes(replicas)[group] - weight_bytes[model])
    homeless = []
    for other in rng.permutation(np.flatnonzero(replicas[:, group])):
        if free_bytes >= 0:
            break
        replicas[other, group] = False
        free_bytes += int(weight_bytes[other])
        if not replicas[other].any():
            homeless.append(int(other))
    replicas[model, group] = True
    for other in homeless:
        _settle(fleet, replicas, other, rng)
    return fleet, replicas


def move(search: Search, state: Evaluation, rng: np.random.Generator) -> Change | None:
    """Take one replica to another group with room."""
    fleet, replicas = state.fleet, state.replicas.copy()
    found = _draw_replica(replicas, rng)
    if found is None:
        return None
    model, group = found
    goal = _pick(fleet.addable(replicas)[model], rng)
    if goal is None:
        return None
    replicas[model, group], replicas[model, goal] = False, True
    return fleet, replicas


def swap(search: Search, state: Evaluation, rng: np.random.Generator) -> Change | None:
    """Exchange two models between two groups."""
    fleet, replicas = state.fleet, state.replicas.copy()
    first, second = _draw_replica(replicas, rng), _draw_replica(replicas, rng)
    if first is None or second is None:
        return None
    (a, g), (b, h) = first, second
    if g == h or replicas[a, h] or replicas[b, g]:
        return None
    replicas[a, g] = replicas[b, h] = False
    replicas[a, h] = replicas[b, g] = True
    fits = (fleet.free_bytes(replicas)[[g, h]] >= 0).all()
    return (fleet, replicas) if fits else None


def drop(search: Search, state: Evaluation, rng: np.random.Generator) -> Change | None:
    """Remove one replica of a model that has several."""
    replicas = state.replicas.copy()
    several = replicas.sum(axis=1) > 1
    found = _draw_replica(replicas & several[:, None], rng)
    if found is None:
        return None
    replicas[found] = False
    return state.fleet, replicas


def _settle(fleet: Fleet, replicas: Replicas, model: int, rng: np.random.Generator) -> None:
    """Place a model on any group with room, in place; leave it out if there is none."""
    group = _pick(fleet.addable(replicas)[model], rng)
    if group is not None:
        replicas[model, group] = True


def _draw(unserved: NDArray[np.int64], rng: np.random.Generator) -> int:
    """A model, about as likely as it has unserved requests."""
    cumulated = np.cumsum(unserved + _SERVED_WEIGHT)
    return int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))


def _draw_replica(replicas: Replicas, rng: np.random.Generator) -> tuple[int, int] | None:
    found = np.flatnonzero(replicas)
    if not len(found):
        return None
    model, group = divmod(int(found[rng.integers(len(found))]), replicas.shape[1])
    return model, group


def _pick(allowed: NDArray[np.bool_], rng: np.random.Generator) -> int | None:
    """An index that is allowed, all alike."""
    found = np.flatnonzero(allowed)
    return int(found[rng.integers(len(found))]) if len(found) else None
