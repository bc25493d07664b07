"""One plan, searched in threads beside the event loop with its upper bound, and what it tells while it runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from alpaserve.v1 import planner_pb2

from services.core.attainment import report
from services.core.batched_simulator import batching_for, kernels_once, simulate_batched
from services.core.problem import Problem
from services.core.timeline import Timeline, Window, report_timeline, simulate_timeline
from services.planner.messages import target_message
from services.planner.policies.bisections import fewest_devices
from services.planner.policies.plan import Plan, with_held_out
from services.planner.policies.questions import FewestDevices, Target, bound_for, quick_bound
from services.planner.policies.threads import aside
from services.planner.policies.variations import is_over
from services.planner.searching import Searching

PROGRESS_EVERY_S = 0.2


class Hunt:
    """The search that a request asks for. Leaving `progress` early cancels it."""

    def __init__(self, problem: Problem, request: planner_pb2.PlanRequest, searching: Searching) -> None:
        """Raises: InvalidArgument for a target that is none, or what the policy does not use."""
        searching.check_used([searching.policy])
        bound = bound_for(searching.policy, searching.max_batch_size)
        self._problem = problem
        self._searching = searching
        self._target = Target(request.target, searching.make, searching.limits, bound) if request.target else None
        self._fewest: FewestDevices | None = None
        self._plan: Plan | None = None
        self._upper_bound: float | None = None
        self.search_s = 0.0

    @property
    def plan(self) -> Plan:
        """What was found, once `progress` is over."""
        if self._plan is None:
            raise RuntimeError("the search is not over")
        return self._plan

    @property
    def reached(self) -> bool:
        """Whether the plan attains the target, if there is one."""
        return self._fewest is None or self._fewest.reached

    @property
    def num_simulations(self) -> int:
        return self._searching.num_simulations

    async def progress(self) -> AsyncIterator[planner_pb2.SearchProgress]:
        """Search; tells how far it is until it is done. Raises: what the policy raises."""
        searching = asyncio.wrap_future(aside(self._search))
        bounding = asyncio.wrap_future(aside(self._bound))
        try:
            while not searching.done():
                await first_done([searching] if bounding.done() else [searching, bounding])
                yield self._message(bounding)
            plan = searching.result()
            self.search_s = self._searching.elapsed_s
            while not bounding.done() and not is_over(self._searching.limits):
                await first_done([bounding])
                yield self._message(bounding)
            known = bounding.result() if bounding.done() else self._quick_bound()
            self._plan = plan if self._fewest else replace(plan, upper_bound=known)
        finally:
            self._searching.cancel()
            searching.cancel()
            bounding.cancel()

    def plan_with_held_out(self) -> Plan:
        """The plan with what it attains on traffic that no search saw."""
        return with_held_out(self.plan, self._problem, self._searching.seed)

    def model_attainment(self) -> dict[str, float]:
        """The plan's attainment of each model that has requests."""
        problem, placement, windows = self._problem, self.plan.placement, self.plan.windows
        timeline = Timeline(windows or (Window(0.0, placement),))
        batching = batching_for(placement)
        if batching is None:
            rows = report_timeline(problem, timeline, simulate_timeline(problem, timeline)).models
        else:
            outcome = simulate_batched(problem, placement, batching, kernels_once(problem.num_requests))
            rows = report(problem, placement, outcome).models
        return {name: row.attainment for name, row in rows.items() if row.attainment is not None}

    def target_found(self) -> planner_pb2.TargetFound | None:
        """What became of the target, if there is one."""
        if self._fewest is None or self._target is None:
            return None
        return target_message(self._target.attainment, self._fewest)

    def _search(self) -> Plan:
        if self._target is None:
            return self._searching.make(self._problem, self._searching.limits)
        self._fewest = fewest_devices(self._problem, self._target)
        return self._fewest.plan

    def _bound(self) -> float | None:
        """Of the whole cluster; a target has the bound of each number of devices computed with it."""
        searching = self._searching
        return None if self._target else bound_for(searching.policy, searching.max_batch_size)(self._problem)

    def _quick_bound(self) -> float | None:
        return quick_bound(self._searching.policy, self._problem, self._searching.max_batch_size)

    def _message(self, bounding: "asyncio.Future[float | None]") -> planner_pb2.SearchProgress:
        elapsed_s = self._searching.elapsed_s
        num_simulations = self._searching.num_simulations
        return planner_pb2.SearchProgress(
            num_simulations=num_simulations,
            attainment=self._searching.attainment,
            search_s=elapsed_s,
            simulations_per_s=num_simulations / elapsed_s if elapsed_s > 0 else 0.0,
            upper_bound=bounding.result() if bounding.done() else None,
        )


async def first_done(pending: Sequence[asyncio.Future[Any]]) -> None:
    """Until one of these is done, or it is time to tell how far the search is."""
    await asyncio.wait(pending, timeout=PROGRESS_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
