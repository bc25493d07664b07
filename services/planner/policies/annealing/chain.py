"""One walk of the local search: where it stands, and its legs, which run anywhere as plain arrays."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.compiling import compiled
from services.core.simulator import RULE
from services.planner.policies.annealing import recut, steps, terrain, walk
from services.planner.policies.annealing.ground import Ground, empty_state, make_bench
from services.planner.policies.annealing.terrain import State

# Callees before callers.
_CALLED = (
    terrain.copy_into,
    terrain.copy_state,
    terrain.may_hold,
    terrain.has_room,
    terrain.add,
    terrain.remove,
    terrain.open_group,
    terrain.close_group,
    terrain.num_nodes_touched,
    terrain.shortfall,
    steps.draw_below,
    steps.draw_unserved,
    steps.draw_held,
    steps.draw_cheap,
    steps.settle,
    steps.insert,
    steps.move,
    steps.swap,
    steps.drop,
    recut.closed_region,
    recut.clear_group,
    recut.clear_nodes,
    recut.draw_group,
    recut.clear_some,
    recut.used_devices,
    recut.draw_config,
    recut.draw_wide,
    recut.fill_node,
    recut.fill_nodes,
    recut.place_roomiest,
    recut.resettle,
    recut.regroup,
    walk.lay_out,
    walk.reset_clocks,
    walk.run,
    walk.score,
    walk.score_of,
    walk.keep,
    walk.step,
    walk.walk,
)


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Where a walk stands. `score` (2,) are those of `current` and `best`; a leg makes a new one."""

    ground: Ground
    current: State
    best: State
    score: NDArray[np.float64]
    rng: np.random.Generator
    num_simulations: int = 0

    @property
    def best_score(self) -> float:
        """Attained requests and fractions for ties; no number before the first leg."""
        return float(self.score[1])

    @property
    def attained(self) -> int:
        """Requests that the best state attains, spread models' penalties off; 0 before the first leg."""
        return 0 if math.isnan(self.score[1]) else math.floor(self.score[1] + walk.MOST_TIE_LOSS)


@dataclass(frozen=True, slots=True, eq=False)
class Leg:
    """A part of a walk: so many steps, cooling from `hot` to `cold`, in requests."""

    chain: Chain
    num_steps: int
    hot: float
    cold: float


def run_leg(leg: Leg) -> Chain:
    """The chain at the end of the leg; of the one that it begins with only the generator goes on.
    Releases the GIL."""
    chain, ground = leg.chain, leg.chain.ground
    num_models = len(ground.terrain.profile_row)
    current, proposed, best = (empty_state(ground.most_groups, num_models) for _ in range(3))
    terrain.copy_state(chain.current, current)
    terrain.copy_state(chain.best, best)
    score = chain.score.copy()
    num_simulations = compiled(RULE + _CALLED, len(_CALLED) + 1)(
        ground.rule,
        ground.terrain,
        ground.requests,
        ground.blocks,
        make_bench(ground),
        current,
        proposed,
        best,
        score,
        leg.num_steps,
        float(leg.hot),
        float(leg.cold),
        chain.rng,
    )
    return Chain(ground, current, best, score, chain.rng, chain.num_simulations + num_simulations)


def begin_chain(ground: Ground, start: State, seed: int) -> Chain:
    """A chain that was not simulated yet."""
    return Chain(ground, start, start, np.full(2, np.nan), np.random.default_rng(seed))
