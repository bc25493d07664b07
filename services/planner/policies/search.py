"""What a policy works with: fleets of groups to fill, counted simulations, and a budget of them.

The clock lives with the caller, who tells what share of the time is gone.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidArgument
from services.core.placement import DEFAULT_DISPATCH, Group, Placement
from services.core.problem import Lanes, Problem
from services.core.profile import ParallelConfig
from services.core.simulator import Counts, simulate_counts
from services.planner.policies.nodes import allowed_groups, asks_for_nodes
from services.planner.policies.partition import Partition

# Above any memory, and thousands of them still fit an int64.
UNAVAILABLE_BYTES = 1 << 50

Replicas = NDArray[np.bool_]

DEFAULT_CHAINS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Groups to fill. `weight_bytes` (num_models, num_groups) is what a replica adds per device,
    `UNAVAILABLE_BYTES` where the model's profile lacks the group's config or the group leaves its nodes."""

    partition: Partition
    lanes: Lanes
    weight_bytes: NDArray[np.int64]
    memory_bytes: int

    @property
    def num_groups(self) -> int:
        return len(self.partition.configs)

    def empty(self) -> Replicas:
        return np.zeros(self.weight_bytes.shape, dtype=np.bool_)

    def free_bytes(self, replicas: Replicas) -> NDArray[np.int64]:
        """Memory left per device of every group, (num_groups,)."""
        used = np.where(replicas, self.weight_bytes, 0).sum(axis=0)
        return np.asarray(self.memory_bytes - used, dtype=np.int64)

    def placement(self, replicas: Replicas, names: Sequence[str], dispatch: str) -> Placement:
        """The groups, holding the models by name."""
        held = [tuple(names[m] for m in np.flatnonzero(column).tolist()) for column in replicas.T]
        groups = zip(self.partition.configs, self.partition.devices, held, strict=True)
        return Placement(tuple(Group(*group) for group in groups), dispatch)

    def addable(self, replicas: Replicas) -> Replicas:
        """Which further replicas fit, (num_models, num_groups)."""
        return ~replicas & (self.weight_bytes <= self.free_bytes(replicas))


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A filled fleet and what its simulation counted; `num_requests` is the whole problem's."""

    fleet: Fleet
    replicas: Replicas
    counts: Counts
    num_requests: int

    @property
    def num_attained(self) -> int:
        return int(self.counts.attained.sum())

    @property
    def attainment(self) -> float:
        return self.num_attained / self.num_requests

    @property
    def mean_latency_s(self) -> float:
        """Over all requests, missed ones counted as 0."""
        return self.counts.latency_s / self.num_requests

    @property
    def published_score(self) -> float:
        """Attainment − mean latency / 10⁴ + replicas / 10⁶."""
        return self.attainment - self.mean_latency_s / 1e4 + int(self.replicas.sum()) / 1e6


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a search may go; without limits a policy stops by itself. `share_of_time` tells what
    share of its time the search has had, 1 when it must end."""

    max_simulations: int | None = None
    share_of_time: Callable[[], float] | None = None

    def __post_init__(self) -> None:
        if self.max_simulations is not None and self.max_simulations < 1:
            raise InvalidArgument(f"max_simulations must be at least 1, got {self.max_simulations}")

    def less_final(self, is_final_due: bool) -> "Limits":
        """What is left to a policy if another simulation may be due after it."""
        if self.max_simulations is None or self.max_simulations == 1 or not is_final_due:
            return self
        return replace(self, max_simulations=self.max_simulations - 1)


OnProgress = Callable[[float, int], None]
# Runs a function on every item, side by side where it can: `map` and its like.
Pool = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


class Search:
    """One search: the problem, its budget, and the simulations spent.

    `on_progress` hears of the best attainment and the number of simulations whenever one of them
    was the best so far. `num_resamples` workloads like the given one are planned for as well, by
    policies that can, so that a plan does not fit the accidents of one. `num_chains` walks go side
    by side where walks compete: their number is part of what makes a plan come out the same again.
    """

    def __init__(
        self,
        problem: Problem,
        dispatch: str = DEFAULT_DISPATCH,
        seed: int = 0,
        limits: Limits | None = None,
        on_progress: OnProgress = lambda attainment, num_simulations: None,
        pool: Pool = map,
        num_resamples: int = 0,
        num_chains: int = DEFAULT_CHAINS,
    ) -> None:
        self.problem = problem
        self.dispatch = dispatch
        self.seed = seed
        self.num_simulations = 0
        self.dispatch_rule = Placement((), dispatch).dispatch_rule
        self.pool = pool
        self.num_resamples = num_resamples
        self.num_chains = num_chains
        self._given = limits or Limits()
        self._limits = self._given.less_final(asks_for_nodes(problem.spec))
        self._on_progress = on_progress
        self._cap = 1.0
        self._best_attainment = -1.0
        self._memory_bytes = min(problem.spec.cluster.memory_bytes, UNAVAILABLE_BYTES - 1)
        self._weight_of: dict[ParallelConfig, NDArray[np.int64]] = {}

    @property
    def is_limited(self) -> bool:
        """Whether the caller set limits, so that a policy's own default does not hold."""
        return self._limits != Limits()

    @property
    def share_spent(self) -> float:
        """The share of the budget that is gone, 0 without limits."""
        most, share_of_time = self._limits.max_simulations, self._limits.share_of_time
        of_simulations = 0.0 if most is None else self.num_simulations / most
        return max(of_simulations, 0.0 if share_of_time is None else share_of_time())

    def num_simulations_left(self, share: float = 1.0) -> int | None:
        """How many simulations this share of the budget still allows, None without a limit on them."""
        most = self._limits.max_simulations
        return None if most is None else max(math.floor(most * min(share, self._cap)) - self.num_simulations, 0)

    def may_simulate(self, reserve: int = 0) -> bool:
        """Whether the budget allows one more simulation with `reserve` left after it."""
        most = self._limits.max_simulations
        within = most is None or self.num_simulations + reserve < most * self._cap
        return within and self.share_spent < self._cap

    @contextmanager
    def capped(self, share: float) -> Iterator[None]:
        """Within, the search may spend only up to this share of its budget, or of an outer cap's."""
        outer, self._cap = self._cap, self._cap * share
        try:
            yield
        finally:
            self._cap = outer

    def simulate(self, fleet: Fleet, replicas: Replicas, problem: Problem | None = None) -> Evaluation:
        """Count one simulation, of the whole problem or a restriction of it; keeps a copy of `replicas`."""
        posed = problem or self.problem
        layout = posed.layout(fleet.lanes, replicas)
        counts = simulate_counts(posed, layout, self.dispatch_rule)
        self.num_simulations += 1
        evaluation = Evaluation(fleet, replicas.copy(), counts, self.problem.num_requests)
        if posed is self.problem:
            self.note(evaluation.attainment)
        return evaluation

    def note(self, attainment: float, num_simulations: int = 0) -> None:
        """Count simulations that were made elsewhere, and hear of what they found."""
        self.num_simulations += num_simulations
        if attainment > self._best_attainment:
            self._best_attainment = attainment
            self._on_progress(attainment, self.num_simulations)

    def within(self, problem: Problem) -> "Search":
        """A search of a part of the problem, with the same budget; its simulations count in both
        once they are noted."""
        return Search(
            problem,
            self.dispatch,
            self.seed,
            self._given,
            pool=self.pool,
            num_resamples=self.num_resamples,
            num_chains=self.num_chains,
        )

    def fleet(self, partition: Partition) -> Fleet:
        """The tables of a partition's groups."""
        columns = [self.weight_bytes(config) for config in partition.configs]
        weight_bytes = np.stack(columns, axis=1) if columns else np.empty((self.problem.num_models, 0), np.int64)
        weight_bytes[~allowed_groups(self.problem.spec, partition)] = UNAVAILABLE_BYTES
        return Fleet(partition, self.problem.lanes(partition.configs), weight_bytes, self._memory_bytes)

    def weight_bytes(self, config: ParallelConfig) -> NDArray[np.int64]:
        """What each model's heaviest stage weighs, (num_models,)."""
        found = self._weight_of.get(config)
        if found is None:
            profiles = [self.problem.profiles[model.profile] for model in self.problem.spec.models]
            stages = [profile.find(config) for profile in profiles]
            heaviest = [UNAVAILABLE_BYTES if stage is None else stage.heaviest_stage_bytes for stage in stages]
            found = np.minimum(np.array(heaviest, dtype=np.int64), UNAVAILABLE_BYTES)
            self._weight_of[config] = found
        return found

    def is_useful(self, config: ParallelConfig, models: Sequence[int] | None = None) -> bool:
        """Whether any of these models, or any at all, fits a group of this config."""
        fits = self.weight_bytes(config) <= self._memory_bytes
        return bool(fits.any() if models is None else fits[list(models)].any())
