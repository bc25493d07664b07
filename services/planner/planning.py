"""The life of a plan: pose the problem, search beside the event loop, preview, apply."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

from alpaserve.v1 import planner_pb2

from services.core.attainment import Report, report
from services.core.batched_simulator import Batching, batching_for, batching_of, kernels_once, simulate_batched
from services.core.errors import InvalidArgument
from services.core.phasing import Rates
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.simulator import simulate
from services.infra.store.placements import PlacementStore
from services.infra.tracing import within
from services.infra.wire import duration_s, group_message, placement_message, to_cluster, to_placement
from services.planner.cluster import LiveCluster
from services.planner.exploring import explored
from services.planner.hunt import Hunt
from services.planner.messages import applied_message, diff_message, report_message
from services.planner.metrics import measured_search
from services.planner.policies.clockwork import CLOCKWORK
from services.planner.pools import Pools
from services.planner.posing import Posing
from services.planner.searching import Searching
from services.planner.settings import PlannerSettings
from services.planner.stewardship import Stewardship


class Planning:
    """Plan requests in, progress and plans out."""

    def __init__(
        self,
        settings: PlannerSettings,
        posing: Posing,
        stewardship: Stewardship,
        placements: PlacementStore,
        pools: Pools,
    ) -> None:
        self._settings = settings
        self._posing = posing
        self._stewardship = stewardship
        self._placements = placements
        self._pools = pools

    async def plan(self, request: planner_pb2.PlanRequest) -> AsyncIterator[planner_pb2.PlanResponse]:
        """Progress, the plan, and unless validate_only its application.

        Raises: InvalidArgument and its children, NotPlaced, VersionConflict.
        """
        check_scope(request, is_applied=not request.validate_only)
        live = None if request.HasField("cluster") else await self._stewardship.cluster()
        current = await self._placements.current()
        problem = await self._problem(request, live)
        async with self._pools.pool_for(problem) as pool:
            searching = Searching(request, self._time_budget_s(request), pool)
            hunt = Hunt(problem, request, searching)
            with measured_search(searching), within("search", policy=request.policy):
                async for progress in hunt.progress():
                    yield planner_pb2.PlanResponse(progress=progress)
        plan = hunt.plan
        placement = plan.placement if live is None else live.placed(plan.placement, current.groups, problem.spec)
        found = await asyncio.to_thread(found_message, hunt, placement)
        found.base_version = current.version
        if live is not None and not request.HasField("profiles"):
            found.diff.CopyFrom(diff_message(await self._stewardship.preview(placement, rates_of(problem))))
        yield planner_pb2.PlanResponse(plan=found)
        if not request.validate_only and hunt.reached:
            applied = await self._stewardship.apply(placement, plan.policy, current.version, rates_of(problem))
            yield planner_pb2.PlanResponse(applied=applied_message(applied))

    async def explore(self, request: planner_pb2.ExploreRequest) -> AsyncIterator[planner_pb2.ExploreResponse]:
        """Cells of a grid, or probes and a capacity. Raises: as `plan`; applies nothing."""
        plan = request.plan
        check_scope(plan, is_applied=False)
        live = None if plan.HasField("cluster") else await self._stewardship.cluster()
        problem = await self._problem(plan, live)
        async with self._pools.pool_for(problem) as pool:
            searching = Searching(plan, self._time_budget_s(plan), pool)
            with measured_search(searching):
                async for response in explored(problem, request, searching, self._pools.num_threads):
                    yield response

    async def _problem(self, request: planner_pb2.PlanRequest, live: LiveCluster | None) -> Problem:
        if live is None:
            return await self._posing.problem(request, to_cluster(request.cluster))
        return await self._posing.live_problem(request, live)

    def _time_budget_s(self, request: planner_pb2.PlanRequest) -> float:
        """A limit on simulations alone leaves the time open, so that the plan can be had again."""
        if request.HasField("time_budget"):
            return duration_s(request.time_budget, "time_budget")
        return math.inf if request.max_simulations else self._settings.time_budget_s

    async def simulate(self, request: planner_pb2.SimulateRequest) -> planner_pb2.SimulateResponse:
        """What a placement, or the running one, would attain. Raises: as `plan`; DoesNotFit."""
        running = await self._placements.current()
        placement = to_placement(request.placement) if request.HasField("placement") else running.placement()
        if request.dispatch:
            placement = replace(placement, dispatch=request.dispatch)
        if request.HasField("cluster"):
            cluster = to_cluster(request.cluster)
        else:
            cluster = (await self._stewardship.cluster()).as_numbered()
        asked = batching_of(request.batching or None, request.batching_rule or None)
        if asked is not None and request.dispatch:
            asked.check_dispatch(request.dispatch)
        batching = batching_for(placement, asked)
        problem = await self._posing.problem(request, cluster)
        return report_message(await asyncio.to_thread(simulated, problem, placement, batching))


def simulated(problem: Problem, placement: Placement, batching: Batching | None) -> Report:
    if batching is not None:
        kernels = kernels_once(problem.num_requests)
        return report(problem, placement, simulate_batched(problem, placement, batching, kernels))
    outcome = simulate(problem, problem.placement_layout(placement), placement.dispatch_rule)
    return report(problem, placement, outcome)


def rates_of(problem: Problem) -> Rates:
    """Requests per second of each model in the workload that is planned for."""
    span_s = problem.workload.span_s or 1.0
    counts = problem.workload.num_requests_of
    return {name: float(count) / span_s for name, count in zip(problem.workload.names, counts, strict=True)}


def check_scope(request: planner_pb2.PlanRequest, is_applied: bool) -> None:
    """What does not run cannot be applied. Raises: InvalidArgument."""
    if request.policy == CLOCKWORK and not request.HasField("cluster"):
        raise InvalidArgument(f"{CLOCKWORK} plans for traffic that is known in advance: give the cluster and all else")
    if is_applied:
        for name in ("cluster", "profiles"):
            if request.HasField(name):
                raise InvalidArgument(f"{name} is only for plans with validate_only")


def found_message(hunt: Hunt, placement: Placement) -> planner_pb2.PlanFound:
    """A plan, its placement on the devices it is meant for; simulates, so it takes a moment."""
    plan = hunt.plan_with_held_out()
    message = planner_pb2.PlanFound(
        placement=placement_message(placement, plan.policy),
        attainment=plan.attainment,
        model_attainment=hunt.model_attainment(),
        search_s=hunt.search_s,
        num_simulations=hunt.num_simulations,
        target=hunt.target_found(),
        windows=[
            planner_pb2.Window(begin_s=window.begin_s, groups=map(group_message, window.placement.groups))
            for window in plan.windows
        ],
        unplaced=[planner_pb2.Unplaced(model=left.model, reason=left.reason) for left in plan.unplaced],
    )
    if plan.upper_bound is not None:
        message.upper_bound = plan.upper_bound
    if plan.held_out_attainment is not None:
        message.held_out_attainment = plan.held_out_attainment
    return message
