"""The life of a plan: pose the problem, search beside the event loop, preview, apply."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

from alpaserve.v1 import planner_pb2

from services.core.attainment import Report, report
from services.core.errors import InvalidArgument
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.simulator import simulate
from services.infra.store.placements import PlacementStore
from services.infra.wire import duration_s, placement_message, to_cluster, to_placement
from services.planner.hunt import Hunt
from services.planner.messages import applied_message, diff_message, report_message
from services.planner.posing import Posing
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
    ) -> None:
        self._settings = settings
        self._posing = posing
        self._stewardship = stewardship
        self._placements = placements

    async def plan(self, request: planner_pb2.PlanRequest) -> AsyncIterator[planner_pb2.PlanResponse]:
        """Progress, the plan, and unless validate_only its application.

        Raises: InvalidArgument and its children, NotPlaced, VersionConflict.
        """
        check_scope(request)
        live = None if request.HasField("cluster") else await self._stewardship.cluster()
        current = await self._placements.current()
        cluster = to_cluster(request.cluster) if live is None else live.for_planning()
        most_devices = None if live is None else cluster.devices_per_node
        problem = await self._posing.problem(request, cluster, most_devices)
        hunt = Hunt(problem, request, self._time_budget_s(request))
        async for progress in hunt.progress():
            yield planner_pb2.PlanResponse(progress=progress)
        plan = hunt.plan
        placement = plan.placement if live is None else live.placed(plan.placement, current.groups)
        found = await asyncio.to_thread(found_message, hunt, placement)
        found.base_version = current.version
        if live is not None and not request.HasField("profiles"):
            found.diff.CopyFrom(diff_message(await self._stewardship.preview(placement)))
        yield planner_pb2.PlanResponse(plan=found)
        if not request.validate_only:
            applied = await self._stewardship.apply(placement, plan.policy, current.version)
            yield planner_pb2.PlanResponse(applied=applied_message(applied))

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
        problem = await self._posing.problem(request, cluster)
        return report_message(await asyncio.to_thread(simulated, problem, placement))


def simulated(problem: Problem, placement: Placement) -> Report:
    outcome = simulate(problem, problem.placement_layout(placement), placement.dispatch_rule)
    return report(problem, placement, outcome)


def check_scope(request: planner_pb2.PlanRequest) -> None:
    """What does not run cannot be applied. Raises: InvalidArgument."""
    if not request.validate_only:
        for name in ("cluster", "profiles"):
            if request.HasField(name):
                raise InvalidArgument(f"{name} is only for plans with validate_only")


def found_message(hunt: Hunt, placement: Placement) -> planner_pb2.PlanFound:
    """A plan, its placement on the devices it is meant for."""
    plan = hunt.plan
    message = planner_pb2.PlanFound(
        placement=placement_message(placement, plan.policy),
        attainment=plan.attainment,
        model_attainment=hunt.model_attainment(),
        search_s=hunt.search_s,
        num_simulations=plan.num_simulations,
        unplaced=[planner_pb2.Unplaced(model=left.model, reason=left.reason) for left in plan.unplaced],
    )
    if plan.upper_bound is not None:
        message.upper_bound = plan.upper_bound
    return message
