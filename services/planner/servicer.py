"""The planner's RPCs: parse, call, reply."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from alpaserve.v1 import planner_pb2, planner_pb2_grpc
from google.protobuf import timestamp_pb2

from services.core.deployment import Deployment
from services.infra.store.placements import PlacementStore
from services.infra.store.transitions import TransitionStore
from services.infra.wire import deployment_message, model_message, to_model, to_placement
from services.planner.catalog import Catalog
from services.planner.decisions import Decisions
from services.planner.messages import applied_message, diff_message, transition_message
from services.planner.planning import Planning
from services.planner.residence import Residence
from services.planner.status import StatusReader
from services.planner.stewardship import Stewardship

Context = grpc.aio.ServicerContext[Any, Any]


class PlannerServicer(planner_pb2_grpc.PlannerServicer):
    """Decides and changes what runs where."""

    def __init__(
        self,
        planning: Planning,
        stewardship: Stewardship,
        residence: Residence,
        placements: PlacementStore,
        catalog: Catalog,
        status: StatusReader,
        records: TransitionStore,
        decisions: Decisions,
    ) -> None:
        self._planning = planning
        self._stewardship = stewardship
        self._residence = residence
        self._placements = placements
        self._catalog = catalog
        self._status = status
        self._records = records
        self._decisions = decisions

    async def Plan(self, request: planner_pb2.PlanRequest, context: Context) -> AsyncIterator[planner_pb2.PlanResponse]:
        async for response in self._planning.plan(request):
            yield response

    async def Explore(
        self, request: planner_pb2.ExploreRequest, context: Context
    ) -> AsyncIterator[planner_pb2.ExploreResponse]:
        async for response in self._planning.explore(request):
            yield response

    async def Simulate(self, request: planner_pb2.SimulateRequest, context: Context) -> planner_pb2.SimulateResponse:
        return await self._planning.simulate(request)

    async def ApplyPlan(self, request: planner_pb2.ApplyPlanRequest, context: Context) -> planner_pb2.ApplyPlanResponse:
        placement = to_placement(request.placement)
        applied = await self._stewardship.apply(
            placement, request.placement.policy or "given", request.expected_version or None
        )
        return planner_pb2.ApplyPlanResponse(applied=applied_message(applied), diff=diff_message(applied.change))

    async def GetPlacement(
        self, request: planner_pb2.GetPlacementRequest, context: Context
    ) -> planner_pb2.GetPlacementResponse:
        deployment = await self._version(request.version)
        created_at = timestamp_pb2.Timestamp()
        created_at.FromNanoseconds(int(deployment.created_at_s * 1e9))
        return planner_pb2.GetPlacementResponse(placement=deployment_message(deployment), created_at=created_at)

    async def WatchPlacement(
        self, request: planner_pb2.WatchPlacementRequest, context: Context
    ) -> AsyncIterator[planner_pb2.WatchPlacementResponse]:
        async for deployment in self._placements.watch():
            yield planner_pb2.WatchPlacementResponse(placement=deployment_message(deployment))

    async def WatchTransition(
        self, request: planner_pb2.WatchTransitionRequest, context: Context
    ) -> AsyncIterator[planner_pb2.WatchTransitionResponse]:
        async for record in self._records.watch():
            yield planner_pb2.WatchTransitionResponse(transition=transition_message(record) if record else None)

    async def RollbackPlacement(
        self, request: planner_pb2.RollbackPlacementRequest, context: Context
    ) -> planner_pb2.RollbackPlacementResponse:
        current = await self._placements.current()
        older = await (
            self._placements.at(request.version)
            if request.version
            else self._placements.settled_before(current.version)
        )
        applied = await self._stewardship.apply(older.placement(), f"rollback to {older.version}", current.version)
        return planner_pb2.RollbackPlacementResponse(applied=applied_message(applied))

    async def RegisterModel(
        self, request: planner_pb2.RegisterModelRequest, context: Context
    ) -> planner_pb2.RegisterModelResponse:
        model = to_model(request.model)
        await self._catalog.register(model)
        return planner_pb2.RegisterModelResponse(model=model_message(model))

    async def ListModels(
        self, request: planner_pb2.ListModelsRequest, context: Context
    ) -> planner_pb2.ListModelsResponse:
        models = await self._catalog.models()
        return planner_pb2.ListModelsResponse(models=[model_message(model) for model in models.values()])

    async def PlaceModel(
        self, request: planner_pb2.PlaceModelRequest, context: Context
    ) -> planner_pb2.PlaceModelResponse:
        applied = await self._residence.place(request.model)
        return planner_pb2.PlaceModelResponse(applied=applied_message(applied) if applied else None)

    async def WithdrawModel(
        self, request: planner_pb2.WithdrawModelRequest, context: Context
    ) -> planner_pb2.WithdrawModelResponse:
        applied = await self._residence.withdraw(request.model)
        return planner_pb2.WithdrawModelResponse(applied=applied_message(applied) if applied else None)

    async def RemoveModel(
        self, request: planner_pb2.RemoveModelRequest, context: Context
    ) -> planner_pb2.RemoveModelResponse:
        await self._catalog.remove(request.name)
        return planner_pb2.RemoveModelResponse()

    async def GetStatus(self, request: planner_pb2.GetStatusRequest, context: Context) -> planner_pb2.GetStatusResponse:
        return await self._status.read()

    async def ListDecisions(
        self, request: planner_pb2.ListDecisionsRequest, context: Context
    ) -> planner_pb2.ListDecisionsResponse:
        return await self._decisions.newest(request.limit)

    async def WatchDecisions(
        self, request: planner_pb2.WatchDecisionsRequest, context: Context
    ) -> AsyncIterator[planner_pb2.WatchDecisionsResponse]:
        async for decision in self._decisions.watch(request.limit):
            yield planner_pb2.WatchDecisionsResponse(decision=decision)

    async def _version(self, version: int) -> Deployment:
        return await (self._placements.at(version) if version else self._placements.current())
