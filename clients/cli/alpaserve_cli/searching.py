"""Searches of this process: on all cores, with the upper bound computed beside them."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from alpaserve_cli.search_options import PlanOptions
from services.core.problem import Problem
from services.planner.policies.bound import attainment_bound, pooled_bound
from services.planner.policies.plan import Plan, make_plan, warm_up, with_held_out
from services.planner.policies.questions import bound_for
from services.planner.policies.search import DEFAULT_CHAINS, Limits, OnProgress, Pool, Search
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


@contextmanager
def all_cores_unordered() -> Iterator[Pool]:
    """Runs a function on items in threads; results as they are done. What waits is dropped at a failure."""
    with ThreadPoolExecutor(num_cores()) as threads:

        def as_done(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
            for done in as_completed([threads.submit(function, item) for item in items]):
                yield done.result()

        try:
            yield as_done
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def aside(function: Callable[..., ResultT], *arguments: Any) -> "Future[ResultT]":
    """The function's result, from a thread that keeps no process alive."""
    future: Future[ResultT] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def plan_here(problem: Problem, options: PlanOptions, on_progress: OnProgress) -> FoundPlan:
    """Search in this process. Raises: InvalidArgument, InvalidPlacement, NotPlaced."""
    warm_up(options.policy, problem)
    began_s = time.monotonic()
    bound = aside(bound_for(options.policy), problem)
    with all_cores() as pool:
        plan = maker(options, on_progress, pool)(problem, options.limits(began_s))
    search_s = time.monotonic() - began_s
    left_s = None if options.time_budget_s is None else max(options.time_budget_s - search_s, 0.0)
    known = in_time(bound, left_s)
    if known is None and bound_for(options.policy) is attainment_bound:
        known = pooled_bound(problem)
    return FoundPlan(with_held_out(replace(plan, upper_bound=known), problem, options.seed), search_s)


def maker(options: PlanOptions, on_progress: OnProgress, pool: Pool) -> MakePlan:
    """What makes a plan as the options say, within limits of its own."""

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
        return make_plan(options.policy, search, options.window_s)

    return make


def in_time(future: "Future[ResultT]", left_s: float | None) -> ResultT | None:
    """What it comes to within so many seconds, None if nothing."""
    try:
        return future.result(left_s)
    except TimeoutError:
        return None
