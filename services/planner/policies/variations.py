"""Variations of a problem, and grids of them planned side by side: other devices, load, burstiness, SLOs."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from services.core.burstiness import with_cv_scale
from services.core.errors import InvalidArgument, NotPlaced
from services.core.problem import Problem, pose
from services.core.workload import Workload
from services.planner.policies.bound import attainment_bound
from services.planner.policies.plan import Plan, find_policy
from services.planner.policies.search import Limits, Pool

# More requests than this would not fit the memory of the machines that plan.
MOST_REQUESTS = 10_000_000
# A model's SLOs as its spec and workload say.
OWN_SLO = None

MakePlan = Callable[[Problem, Limits], Plan]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A cell of a grid. `slo_scale` is every model's SLO as a multiple of its single-device latency,
    None where the SLOs stay what they are."""

    num_devices: int
    rate_scale: float = 1.0
    cv_scale: float = 1.0
    slo_scale: float | None = OWN_SLO


@dataclass(frozen=True, slots=True)
class Axes:
    """The values of a grid, in the order in which they are told."""

    policies: tuple[str, ...]
    num_devices: tuple[int, ...]
    rate_scales: tuple[float, ...] = (1.0,)
    cv_scales: tuple[float, ...] = (1.0,)
    slo_scales: tuple[float | None, ...] = (OWN_SLO,)

    def __post_init__(self) -> None:
        for name in ("policies", "num_devices", "rate_scales", "cv_scales", "slo_scales"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise InvalidArgument(f"{name} must be distinct values, got {list(values)}")
            for value in values:
                if isinstance(value, int | float) and not (math.isfinite(value) and value > 0):
                    raise InvalidArgument(f"{name} must be positive, got {value!r}")
        for policy in self.policies:
            find_policy(policy)

    @classmethod
    def of(
        cls,
        problem: Problem,
        policies: Sequence[str],
        *,
        num_devices: Sequence[int],
        rate_scales: Sequence[float],
        cv_scales: Sequence[float],
        slo_scales: Sequence[float],
    ) -> "Axes":
        """Where no values are given along an axis, the problem stays what it is."""
        return cls(
            tuple(policies),
            tuple(num_devices) or (problem.spec.cluster.num_devices,),
            tuple(rate_scales) or (1.0,),
            tuple(cv_scales) or (1.0,),
            tuple(slo_scales) or (OWN_SLO,),
        )

    @property
    def scenarios(self) -> list[Scenario]:
        values = product(self.num_devices, self.rate_scales, self.cv_scales, self.slo_scales)
        return [Scenario(*of_one) for of_one in values]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a policy attains in a scenario; `upper_bound` is None where it was not computed."""

    policy: str
    scenario: Scenario
    attainment: float
    upper_bound: float | None
    num_simulations: int


def share_of(limits: Limits, num_searches: int, num_at_once: int = 1) -> Limits:
    """The limits of one search that begins now, of so many alike that share `limits`, some of them at once."""
    most = limits.max_simulations
    own = None if most is None else max(most // num_searches, 1)
    share_of_time = limits.share_of_time
    if share_of_time is None:
        return Limits(own)
    begun = share_of_time()
    num_rounds = math.ceil(num_searches / num_at_once)

    def share_of_own() -> float:
        share = share_of_time()
        return 1.0 if share >= 1 else (share - begun) * num_rounds

    return Limits(own, share_of_own)


def is_over(limits: Limits) -> bool:
    """Whether all the time is gone, or whoever asked."""
    return limits.share_of_time is not None and limits.share_of_time() >= 1


def on_devices(problem: Problem, num_devices: int) -> Problem:
    """The same problem on a cluster of so many devices. Raises: InvalidSpec where models ask for more nodes."""
    cluster = replace(problem.spec.cluster, num_devices=num_devices)
    return pose(replace(problem.spec, cluster=cluster), problem.profiles, problem.workload)


def scaled(workload: Workload, rate_scale: float, cv_scale: float, seed: int) -> Workload:
    """More or fewer requests, then burstier or smoother ones. Raises: InvalidArgument for far too many."""
    if not len(workload) * rate_scale <= MOST_REQUESTS:
        raise InvalidArgument(
            f"a rate scale of {rate_scale:g} makes {len(workload) * rate_scale:.0f} requests; at most {MOST_REQUESTS}"
        )
    if rate_scale != 1:
        workload = workload.with_rate_scale(rate_scale, seed)
    return workload if cv_scale == 1 else with_cv_scale(workload, cv_scale)


def varied(problem: Problem, scenario: Scenario, seed: int) -> Problem:
    """The problem in a scenario. Raises: InvalidSpec, InvalidWorkload, InvalidProfile, InvalidArgument."""
    workload = scaled(problem.workload, scenario.rate_scale, scenario.cv_scale, seed)
    cluster = replace(problem.spec.cluster, num_devices=scenario.num_devices)
    spec = replace(problem.spec, cluster=cluster)
    if scenario.slo_scale is not None:
        models = [replace(model, slo_s=None, slo_scale=scenario.slo_scale) for model in spec.models]
        spec = replace(spec, models=tuple(models))
        workload = replace(workload, slo_s=np.full(len(workload), np.nan))
    return pose(spec, problem.profiles, workload)


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """What every cell is made of."""

    problem: Problem
    axes: Axes
    make: Callable[[str, Problem, Limits], Plan]
    limits: Limits
    seed: int
    num_at_once: int


@dataclass(frozen=True, slots=True)
class _Item:
    """One plan, or without a policy the bound of a scenario; and what it came to."""

    scenario: Scenario
    policy: str | None
    plan: Plan | None = None
    upper_bound: float | None = None


def explore(
    problem: Problem,
    axes: Axes,
    make: Callable[[str, Problem, Limits], Plan],
    limits: Limits,
    seed: int,
    pool: Pool,
    num_at_once: int = 1,
) -> Iterator[Cell]:
    """Every cell of the grid as soon as it is known; `pool` may give its results in any order.

    A policy that cannot place anything on a cluster attains nothing there. Raises: what `varied`
    and the policies raise on the largest cluster.
    """
    grid = _Grid(problem, axes, make, limits, seed, num_at_once)
    items = [_Item(scenario, policy) for scenario in axes.scenarios for policy in (*axes.policies, None)]
    waiting: dict[Scenario, list[_Item]] = defaultdict(list)
    bounds: dict[Scenario, float | None] = {}
    for done in pool(partial(_solved, grid), items):
        if done.policy is None:
            bounds[done.scenario] = done.upper_bound
        else:
            waiting[done.scenario].append(done)
        if done.scenario in bounds:
            yield from _cells(waiting.pop(done.scenario, []), bounds[done.scenario])


def _solved(grid: _Grid, item: _Item) -> _Item:
    num_plans = len(grid.axes.scenarios) * len(grid.axes.policies)
    try:
        problem = varied(grid.problem, item.scenario, grid.seed)
        if item.policy is None:
            return item if is_over(grid.limits) else replace(item, upper_bound=attainment_bound(problem))
        plan = grid.make(item.policy, problem, share_of(grid.limits, num_plans, grid.num_at_once))
    except NotPlaced:
        return item
    except InvalidArgument:
        # A fixed config may be too wide, or a pin out of reach, on some of the clusters, but not on all.
        if item.scenario.num_devices == max(grid.axes.num_devices):
            raise
        return item
    return replace(item, plan=plan)


def _cells(items: Sequence[_Item], upper_bound: float | None) -> Iterator[Cell]:
    for item in items:
        plan = item.plan
        attainment, num_simulations = (0.0, 0) if plan is None else (plan.attainment, plan.num_simulations)
        bound = None if plan is not None and plan.windows else upper_bound
        yield Cell(item.policy or "", item.scenario, attainment, bound, num_simulations)
