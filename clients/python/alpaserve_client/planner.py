"""The client of the planner, in the vocabulary of its messages."""

from collections.abc import Iterator

from alpaserve.v1 import model_pb2, placement_pb2, planner_pb2, planner_pb2_grpc

from alpaserve_client.connection import Connection, ConnectionOptions
from alpaserve_client.errors import typed_errors
from alpaserve_client.streams import responses
from alpaserve_client.tracing import propagated


class PlannerClient(Connection):
    """Asks what runs where and changes it. Calls that load weights have no timeout of their own.

    Every method raises the AlpaServeClientError of the call's status.
    """

    def __init__(self, address: str, options: ConnectionOptions | None = None) -> None:
        super().__init__(address, options)
        self._stub = planner_pb2_grpc.PlannerStub(self._channel)

    def plan(
        self, request: planner_pb2.PlanRequest, *, timeout_s: float | None = None
    ) -> Iterator[planner_pb2.PlanResponse]:
        """Search a placement: progress, then the plan, then its application unless validate_only."""
        return responses(self._stub.Plan(request, timeout=timeout_s, metadata=propagated()))

    def explore(
        self, request: planner_pb2.ExploreRequest, *, timeout_s: float | None = None
    ) -> Iterator[planner_pb2.ExploreResponse]:
        """Plan variations of a problem: the cells of a grid as they are done, or probes and a capacity."""
        return responses(self._stub.Explore(request, timeout=timeout_s, metadata=propagated()))

    def simulate(
        self, request: planner_pb2.SimulateRequest, *, timeout_s: float | None = None
    ) -> planner_pb2.SimulateResponse:
        """What a placement would attain on a workload."""
        with typed_errors():
            return self._stub.Simulate(request, timeout=timeout_s, metadata=propagated())

    def apply(
        self, placement: placement_pb2.Placement, *, expected_version: int = 0, timeout_s: float | None = None
    ) -> planner_pb2.ApplyPlanResponse:
        """Make a placement the running one; returns when it is."""
        request = planner_pb2.ApplyPlanRequest(placement=placement, expected_version=expected_version)
        with typed_errors():
            return self._stub.ApplyPlan(request, timeout=timeout_s, metadata=propagated())

    def placement(self, version: int = 0) -> planner_pb2.GetPlacementResponse:
        """The running placement, or an older version."""
        request = planner_pb2.GetPlacementRequest(version=version)
        with typed_errors():
            return self._stub.GetPlacement(request, timeout=self._options.timeout_s)

    def watch_placement(self, *, timeout_s: float | None = None) -> Iterator[placement_pb2.Placement]:
        """The running placement now and after every change, until the timeout or the end of the service."""
        call = self._stub.WatchPlacement(planner_pb2.WatchPlacementRequest(), timeout=timeout_s)
        for response in responses(call):
            yield response.placement

    def watch_transition(self, *, timeout_s: float | None = None) -> Iterator[planner_pb2.Transition | None]:
        """The transition under way, or the last one, now and at every change of it and of those that follow; None
        first if there never was one."""
        call = self._stub.WatchTransition(planner_pb2.WatchTransitionRequest(), timeout=timeout_s)
        for response in responses(call):
            yield response.transition if response.HasField("transition") else None

    def decisions(self, limit: int = 0) -> planner_pb2.ListDecisionsResponse:
        """What the planner decided by itself of late, the newest first; 0 means 20."""
        request = planner_pb2.ListDecisionsRequest(limit=limit)
        with typed_errors():
            return self._stub.ListDecisions(request, timeout=self._options.timeout_s)

    def watch_decisions(self, limit: int = 0, *, timeout_s: float | None = None) -> Iterator[planner_pb2.Decision]:
        """The newest decisions, oldest first, then every further one; 0 means only the further ones."""
        call = self._stub.WatchDecisions(planner_pb2.WatchDecisionsRequest(limit=limit), timeout=timeout_s)
        for response in responses(call):
            yield response.decision

    def rollback(self, version: int = 0, *, timeout_s: float | None = None) -> planner_pb2.PlacementApplied:
        """Make an older version's placement the running one; 0 means the one before."""
        request = planner_pb2.RollbackPlacementRequest(version=version)
        with typed_errors():
            return self._stub.RollbackPlacement(request, timeout=timeout_s, metadata=propagated()).applied

    def register_model(self, model: model_pb2.Model) -> model_pb2.Model:
        """Add a model, or change its SLO; what was stored."""
        request = planner_pb2.RegisterModelRequest(model=model)
        with typed_errors():
            return self._stub.RegisterModel(request, timeout=self._options.timeout_s).model

    def list_models(self) -> list[model_pb2.Model]:
        """All registered models, sorted by name."""
        with typed_errors():
            response = self._stub.ListModels(planner_pb2.ListModelsRequest(), timeout=self._options.timeout_s)
            return list(response.models)

    def place_model(self, name: str, *, timeout_s: float | None = None) -> planner_pb2.PlacementApplied | None:
        """Put a model where memory allows, and move no other; None if it has its place already."""
        request = planner_pb2.PlaceModelRequest(model=name)
        with typed_errors():
            response = self._stub.PlaceModel(request, timeout=timeout_s, metadata=propagated())
        return response.applied if response.HasField("applied") else None

    def withdraw_model(self, name: str, *, timeout_s: float | None = None) -> planner_pb2.PlacementApplied | None:
        """Take a model off every group, and move no other; None if it is on none."""
        request = planner_pb2.WithdrawModelRequest(model=name)
        with typed_errors():
            response = self._stub.WithdrawModel(request, timeout=timeout_s, metadata=propagated())
        return response.applied if response.HasField("applied") else None

    def remove_model(self, name: str) -> None:
        """Forget a model that no group holds."""
        with typed_errors():
            self._stub.RemoveModel(planner_pb2.RemoveModelRequest(name=name), timeout=self._options.timeout_s)

    def status(self) -> planner_pb2.GetStatusResponse:
        """Workers, groups and their queues, arrival rates."""
        with typed_errors():
            return self._stub.GetStatus(planner_pb2.GetStatusRequest(), timeout=self._options.timeout_s)
