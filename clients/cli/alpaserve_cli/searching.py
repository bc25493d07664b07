"""Searches of this process: on all cores, with the upper bound computed beside them."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from alpaserve_cli.search_options import PlanOptions
from services.core.problem import Problem
from services.planner.policies.batches import with_batches
from services.planner.policies.clockwork import DEFAULT_WINDOW_S
from services.planner.policies.plan import Plan, make_plan, warm_up, with_held_out
from services.planner.policies.questions import bound_for, quick_bound
from services.planner.policies.search import DEFAULT_CHAINS, Limits, OnProgress, Pool, Search
from services.planner.policies.threads import aside
from services.planner.policies.variations import MakePlan

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """A plan and the seconds it took."""

    plan: Plan
    search_s: float


def num_cores() -> int:
    return os.cpu_count() or 1


@contextmanager
def all_cores() -> Iterator[Pool]:
    """Runs a function on items in threads; results in the items' order."""
    with ThreadPoolExecutor(num_cores()) as threads:
        yield threads.map


def plan_here(problem: Problem, options: PlanOptions, on_progress: OnProgress) -> FoundPlan:
    """Search in this process. Raises: InvalidArgument, InvalidPlacement, NotPlaced."""
    warm_up(options.policy, problem)
    began_s = time.monotonic()
    bound = aside(bound_for(options.policy, options.max_batch_size), problem)
    with all_cores() as pool:
        plan = maker(options, on_progress, pool)(problem, options.limits(began_s))
    search_s = time.monotonic() - began_s
    left_s = None if options.time_budget_s is None else max(options.time_budget_s - search_s, 0.0)
    known = in_time(bound, left_s)
    if known is None:
        known = quick_bound(options.policy, problem, options.max_batch_size)
    return FoundPlan(with_held_out(replace(plan, upper_bound=known), problem, options.seed), search_s)


def maker(options: PlanOptions, on_progress: OnProgress, pool: Pool) -> MakePlan:
    """What makes a plan as the options say, within limits of its own."""
    window_s = DEFAULT_WINDOW_S if options.window_s is None else options.window_s

    def make(problem: Problem, limits: Limits) -> Plan:
        search = Search(
            problem,
            options.dispatch,
            options.seed,
            limits,
            on_progress,
            pool,
            num_resamples=options.num_resamples or 0,
            num_chains=DEFAULT_CHAINS if options.time_budget_s is None else max(DEFAULT_CHAINS, num_cores()),
        )
        return with_batches(make_plan(options.policy, search, window_s), problem, options.max_batch_size)

    return make


def in_time(future: "Future[ResultT]", left_s: float | None) -> ResultT | None:
    """What it comes to within so many seconds, None if nothing."""
    try:
        return future.result(left_s)
    except TimeoutError:
        return None
