"""The life of a plan: pose the problem, search beside the event loop, preview, apply."""

import math
from collections.abc import AsyncIterator, Sequence

from alpaserve.v1 import planner_pb2

from services.core.errors import InvalidArgument
from services.core.model import RegisteredModel
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.profile import Profiles
from services.core.spec import Spec
from services.infra.store.placements import PlacementStore
from services.infra.wire import duration_s, placement_message, to_cluster, to_model, to_profiles
from services.planner.catalog import Catalog
from services.planner.cluster import LiveCluster
from services.planner.hunt import Hunt
from services.planner.messages import applied_message, diff_message
from services.planner.settings import PlannerSettings
from services.planner.stewardship import Stewardship
from services.planner.workloads import WorkloadSource


class Planning:
    """Plan requests in, progress and plans out."""

    def __init__(
        self,
        settings: PlannerSettings,
        catalog: Catalog,
        stewardship: Stewardship,
        placements: PlacementStore,
        workloads: WorkloadSource,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._stewardship = stewardship
        self._placements = placements
        self._workloads = workloads

    async def plan(self, request: planner_pb2.PlanRequest) -> AsyncIterator[planner_pb2.PlanResponse]:
        """Progress, the plan, and unless validate_only its application.

        Raises: InvalidArgument and its children, NotPlaced, VersionConflict.
        """
        check_scope(request)
        live = None if request.HasField("cluster") else await self._stewardship.cluster()
        current = await self._placements.current()
        hunt = Hunt(await self._problem(request, live), request, self._time_budget_s(request))
        async for progress in hunt.progress():
            yield planner_pb2.PlanResponse(progress=progress)
        plan = hunt.plan
        placement = plan.placement if live is None else live.placed(plan.placement, current.groups)
        found = found_message(hunt, placement)
        found.base_version = current.version
        if live is not None and not request.HasField("profiles"):
            found.diff.CopyFrom(diff_message(await self._stewardship.preview(placement)))
        yield planner_pb2.PlanResponse(plan=found)
        if not request.validate_only:
            applied = await self._stewardship.apply(placement, plan.policy, current.version)
            yield planner_pb2.PlanResponse(applied=applied_message(applied))

    async def _problem(self, request: planner_pb2.PlanRequest, live: LiveCluster | None) -> Problem:
        models = [to_model(model) for model in request.models] or list((await self._catalog.models()).values())
        profiles = await self._profiles(request, models)
        cluster = to_cluster(request.cluster) if live is None else live.for_planning()
        if live is not None:
            profiles = profiles.within(cluster.devices_per_node)
        spec = Spec(cluster, tuple(model.spec() for model in models))
        workload = await self._workloads.make(request.workload, spec.names, request.seed)
        return pose(spec, profiles, workload)

    async def _profiles(self, request: planner_pb2.PlanRequest, models: Sequence[RegisteredModel]) -> Profiles:
        if request.HasField("profiles"):
            return to_profiles(request.profiles)
        return await self._catalog.profiles_of(models)

    def _time_budget_s(self, request: planner_pb2.PlanRequest) -> float:
        """A limit on simulations alone leaves the time open, so that the plan can be had again."""
        if request.HasField("time_budget"):
            return duration_s(request.time_budget, "time_budget")
        return math.inf if request.max_simulations else self._settings.time_budget_s


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
