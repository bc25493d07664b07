"""One search, in a thread beside the event loop, and what it tells while it runs."""

import asyncio
import threading
from collections.abc import AsyncIterator
from time import monotonic

from alpaserve.v1 import planner_pb2

from services.core.attainment import report
from services.core.placement import DEFAULT_DISPATCH
from services.core.problem import Problem
from services.core.simulator import simulate
from services.planner.policies.plan import DEFAULT_POLICY, Plan, make_plan
from services.planner.policies.search import Limits, Search

PROGRESS_EVERY_S = 0.2


class Hunt:
    """The search that a request asks for. Leaving `progress` early cancels it."""

    def __init__(self, problem: Problem, request: planner_pb2.PlanRequest, time_budget_s: float) -> None:
        self._problem = problem
        self._policy = request.policy or DEFAULT_POLICY
        self._time_budget_s = time_budget_s
        self._is_cancelled = threading.Event()
        self._best = (0.0, 0)
        self._began_s = monotonic()
        self._plan: Plan | None = None
        limits = Limits(request.max_simulations or None, self._share_of_time)
        self._search = Search(problem, request.dispatch or DEFAULT_DISPATCH, request.seed, limits, self._note)
        self.search_s = 0.0

    @property
    def plan(self) -> Plan:
        """What was found, once `progress` is over."""
        if self._plan is None:
            raise RuntimeError("the search is not over")
        return self._plan

    async def progress(self) -> AsyncIterator[planner_pb2.SearchProgress]:
        """Search; tells how far it is until it is done. Raises: what the policy raises."""
        searching = asyncio.get_running_loop().run_in_executor(None, make_plan, self._policy, self._search)
        try:
            while not (await asyncio.wait([searching], timeout=PROGRESS_EVERY_S))[0]:
                attainment, num_simulations = self._best
                yield planner_pb2.SearchProgress(
                    num_simulations=num_simulations, attainment=attainment, search_s=monotonic() - self._began_s
                )
            self._plan = searching.result()
            self.search_s = monotonic() - self._began_s
        finally:
            self._is_cancelled.set()

    def model_attainment(self) -> dict[str, float]:
        """The plan's attainment of each model that has requests."""
        placement = self.plan.placement
        outcome = simulate(self._problem, self._problem.placement_layout(placement), placement.dispatch_rule)
        rows = report(self._problem, placement, outcome).models
        return {name: row.attainment for name, row in rows.items() if row.attainment is not None}

    def _share_of_time(self) -> float:
        """How much of its time the search has used; all of it once it is cancelled."""
        return 1.0 if self._is_cancelled.is_set() else (monotonic() - self._began_s) / self._time_budget_s

    def _note(self, attainment: float, num_simulations: int) -> None:
        self._best = (attainment, num_simulations)
