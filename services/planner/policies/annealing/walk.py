"""Simulated annealing over placements, compiled: random small changes, each judged by a simulation.

A simulation stops as soon as it can no longer become acceptable, so most cost a part of a full one.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.kernel import Clocks, Fates, Layout, Requests, Tally, serve
from services.planner.policies.annealing.recut import regroup
from services.planner.policies.annealing.steps import drop, insert, move, swap
from services.planner.policies.annealing.terrain import State, Terrain, copy_into, copy_state, shortfall

# Shares of the steps, cumulated: insert, move, swap, drop; regroup has the rest.
_INSERT, _MOVE, _SWAP, _DROP = 0.55, 0.65, 0.82, 0.87
# A change is given up when it would have to win back more than this share of what is missed later.
_HOPE = 0.15
# What a mean latency may cost among states that attain the same.
MOST_TIE_LOSS = 0.3


class Blocks(NamedTuple):
    """The requests cut into runs: `begin` (num_blocks + 1,), and whether all clocks start anew."""

    begin: NDArray[np.int64]
    is_fresh: NDArray[np.bool_]


class Bench(NamedTuple):
    """What a simulation works on, overwritten by each. The arrays of a `Layout` and its clocks, as
    large as the largest fleet needs; `missed` (num_blocks,) of the last one and `kept_missed` of
    the state that the walk is at, cumulated."""

    first_stage: NDArray[np.int32]
    first_host: NDArray[np.int32]
    host: NDArray[np.int32]
    latency_s: NDArray[np.float64]
    clocks: Clocks
    tally: Tally
    fates: Fates
    missed: NDArray[np.int64]
    kept_missed: NDArray[np.int64]
    kept_attained: NDArray[np.int64]
    unserved: NDArray[np.int64]
    moved: NDArray[np.int64]


def lay_out(terrain: Terrain, state: State, bench: Bench) -> Layout:
    """The state as the simulator's flat arrays, in the bench."""
    num_groups = state.num_groups[0]
    stage = 0
    for g in range(num_groups):
        config = state.config[g]
        bench.first_stage[g] = stage
        num_stages = terrain.num_stages[config]
        for p in range(terrain.latency_s.shape[1]):
            for k in range(num_stages):
                bench.latency_s[p, stage + k] = terrain.latency_s[config, p, k]
        stage += num_stages
    bench.first_stage[num_groups] = stage
    bench.first_host[0] = 0
    for model in range(len(state.num_hosts)):
        bench.first_host[model + 1] = bench.first_host[model] + state.num_hosts[model]
    # Each model's own counter runs in `moved`, which no step is using now.
    bench.moved[:] = 0
    for g in range(num_groups):
        for model in range(len(state.num_hosts)):
            if state.held[g, model]:
                bench.host[bench.first_host[model] + bench.moved[model]] = g
                bench.moved[model] += 1
    return Layout(
        bench.first_stage[: num_groups + 1],
        bench.first_host,
        bench.host,
        terrain.profile_row,
        bench.latency_s,
        terrain.request_overhead_s,
    )


def reset_clocks(clocks: Clocks) -> None:
    clocks.free_at[:] = 0.0
    clocks.num_in_flight[:] = 0


def run(
    rule: int,
    terrain: Terrain,
    state: State,
    requests: Requests,
    blocks: Blocks,
    bench: Bench,
    most_missed: float,
) -> bool:
    """Simulate the state; False if it was given up because it will miss more than `most_missed`
    in the end."""
    layout = lay_out(terrain, state, bench)
    bench.tally.attained[:] = 0
    bench.tally.group_requests[:] = 0
    bench.tally.group_attained[:] = 0
    bench.tally.latency_s[0] = 0.0
    num_blocks = len(blocks.is_fresh)
    kept_total = bench.kept_missed[num_blocks - 1]
    for b in range(num_blocks):
        if blocks.is_fresh[b]:
            reset_clocks(bench.clocks)
        serve(rule, blocks.begin[b], blocks.begin[b + 1], requests, layout, bench.clocks, bench.tally, bench.fates)
        attained = 0
        for g in range(state.num_groups[0]):
            attained += bench.tally.group_attained[g]
        bench.missed[b] = blocks.begin[b + 1] - attained
        expected = bench.missed[b] + (1 - _HOPE) * (kept_total - bench.kept_missed[b])
        if expected > most_missed:
            return False
    return True


def score(
    attained: int,
    num_requests: int,
    mean_latency_s: float,
    placed: int,
    filled: int,
    num_models: int,
    num_groups: int,
    lacking_nodes: int,
) -> float:
    """Attained requests; fractions of one decide ties: models placed, then latency, then replicas.
    Each node that a spread model lacks costs a hundredth of all requests."""
    ties = 0.5 * placed / num_models - MOST_TIE_LOSS * mean_latency_s / (1 + mean_latency_s)
    ties += 0.1 * filled / (num_models * max(num_groups, 1))
    return float(attained + ties - 0.01 * num_requests * lacking_nodes)


def score_of(terrain: Terrain, state: State, requests: Requests, bench: Bench) -> float:
    """The score of the state that was simulated last."""
    num_requests, num_models = len(requests.arrival_s), len(state.num_hosts)
    attained, placed, filled = 0, 0, 0
    for model in range(num_models):
        attained += bench.tally.attained[model]
        placed += 1 if state.num_hosts[model] > 0 else 0
        filled += state.num_hosts[model]
    mean_s = bench.tally.latency_s[0] / num_requests
    lacking = shortfall(terrain, state)
    return score(attained, num_requests, mean_s, placed, filled, num_models, state.num_groups[0], lacking)


def keep(terrain: Terrain, bench: Bench) -> None:
    """Make the last simulation the one that later ones are held against."""
    copy_into(bench.missed, bench.kept_missed)
    copy_into(bench.tally.attained, bench.kept_attained)
    for model in range(len(bench.unserved)):
        bench.unserved[model] = terrain.num_requests[model] - bench.tally.attained[model]


def step(terrain: Terrain, state: State, bench: Bench, rng: np.random.Generator) -> bool:
    """One random change in place; whether there was one."""
    kind = rng.random()
    if state.num_groups[0] == 0:
        kind = 1.0
    if kind < _INSERT:
        return insert(terrain, state, bench.unserved, bench.kept_attained, rng)
    if kind < _MOVE:
        return move(terrain, state, rng)
    if kind < _SWAP:
        return swap(terrain, state, rng)
    if kind < _DROP:
        return drop(terrain, state, rng)
    regroup(terrain, state, bench.unserved, bench.moved, rng)
    return True


def walk(
    rule: int,
    terrain: Terrain,
    requests: Requests,
    blocks: Blocks,
    bench: Bench,
    current: State,
    proposed: State,
    best: State,
    score: NDArray[np.float64],
    num_steps: int,
    hot: float,
    cold: float,
    rng: np.random.Generator,
) -> int:
    """Simulate `current` and walk from there; temperatures in requests.

    `current`, `best` and `score` (2,), theirs, are updated; a best score that is not a number
    gives way to any. Returns the number of simulations.
    """
    num_requests = len(requests.arrival_s)
    bench.kept_missed[:] = 0
    run(rule, terrain, current, requests, blocks, bench, math.inf)
    num_simulations = 1
    score[0] = score_of(terrain, current, requests, bench)
    keep(terrain, bench)
    if not score[1] >= score[0]:
        score[1] = score[0]
        copy_state(current, best)
    for i in range(num_steps):
        copy_state(current, proposed)
        if not step(terrain, proposed, bench, rng):
            continue
        temperature = hot * (cold / hot) ** (i / num_steps)
        floor = score[0] + temperature * math.log(max(rng.random(), 1e-12))
        num_simulations += 1
        if not run(rule, terrain, proposed, requests, blocks, bench, num_requests - floor + 1):
            continue
        found = score_of(terrain, proposed, requests, bench)
        if found < floor:
            continue
        score[0] = found
        copy_state(proposed, current)
        keep(terrain, bench)
        if found > score[1]:
            score[1] = found
            copy_state(proposed, best)
    return num_simulations
