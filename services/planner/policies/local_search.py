"""Simulated annealing over placements: random small changes, each judged by one simulation."""

import math
from collections.abc import Callable

import numpy as np

from services.planner.policies.moves import Move, drop, insert, move, swap
from services.planner.policies.regrouping import regroup
from services.planner.policies.search import Evaluation, Search

_MOVES: tuple[tuple[Move, float], ...] = ((insert, 0.55), (move, 0.1), (swap, 0.15), (drop, 0.05), (regroup, 0.15))
_HOT_SHARE = 1e-3
_COLD_REQUESTS = 0.2
# Draws in a row that allow no change at all: there is none to be made.
_MOST_FRUITLESS = 1_000


def served_score(state: Evaluation) -> float:
    """Attained requests; fractions of one decide ties: models placed, then latency, then replicas."""
    num_models, num_groups = len(state.replicas), state.fleet.num_groups
    placed = int(state.replicas.any(axis=1).sum()) / num_models
    filled = int(state.replicas.sum()) / max(num_models * num_groups, 1)
    latency = state.mean_latency_s / (1 + state.mean_latency_s)
    return state.num_attained + 0.5 * placed - 0.3 * latency + 0.1 * filled


def anneal(search: Search, start: Evaluation, rng: np.random.Generator, cooled: Callable[[], float]) -> Evaluation:
    """The best state met on a walk from `start`; `cooled` is how far the walk has come, 0 to 1."""
    draws = [weight for _, weight in _MOVES]
    hot = max(_HOT_SHARE * start.num_requests, 2 * _COLD_REQUESTS)
    current = best = start
    current_score = best_score = served_score(start)
    num_fruitless = 0
    while (progress := cooled()) < 1 and search.may_simulate() and num_fruitless < _MOST_FRUITLESS:
        propose = _MOVES[int(rng.choice(len(draws), p=draws))][0]
        change = propose(search, current, rng)
        num_fruitless = num_fruitless + 1 if change is None else 0
        if change is None:
            continue
        state = search.simulate(*change)
        score = served_score(state)
        temperature = hot * (_COLD_REQUESTS / hot) ** progress
        if score >= current_score or rng.random() < math.exp((score - current_score) / temperature):
            current, current_score = state, score
        if score > best_score:
            best, best_score = state, score
    return best
