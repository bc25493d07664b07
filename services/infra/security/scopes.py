"""What each RPC asks of a token: the one table."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from services.infra.security.tokens import Scope


class Access(Enum):
    """For what needs no scope."""

    ANYBODY = "anybody"
    ANY_TOKEN = "any token"


# Some RPCs do more or less, as their request says.
ByRequest = Callable[[Any], Scope]
Need = Scope | Access | ByRequest


def plan_scope(request: Any) -> Scope:
    return Scope.PLAN if request.validate_only else Scope.ADMIN


# service → need → methods
TABLE: Mapping[str, Mapping[Need, str]] = {
    "alpaserve.v1.Router": {Scope.INFER: "Infer"},
    "inference.GRPCInferenceService": {
        Scope.INFER: "ServerLive ServerReady ServerMetadata ModelReady ModelMetadata ModelConfig ModelStatistics "
        "ModelInfer ModelStreamInfer RepositoryIndex",
        Scope.ADMIN: "RepositoryModelLoad RepositoryModelUnload",
    },
    "alpaserve.v1.Planner": {
        plan_scope: "Plan",
        Scope.PLAN: "Explore Simulate GetPlacement WatchPlacement WatchTransition ListModels GetStatus ListDecisions "
        "WatchDecisions",
        Scope.ADMIN: "ApplyPlan RollbackPlacement RegisterModel PlaceModel WithdrawModel RemoveModel",
    },
    "alpaserve.v1.Profiler": {
        Scope.PLAN: "GetProfile ListProfiles",
        Scope.ADMIN: "Profile ImportProfile RemoveProfile",
    },
    "alpaserve.v1.Worker": {Scope.ADMIN: "FormGroup LoadModel UnloadModel DissolveGroup GetWorkerStatus"},
    "grpc.health.v1.Health": {Access.ANYBODY: "Check Watch List"},
    "grpc.reflection.v1alpha.ServerReflection": {Access.ANY_TOKEN: "ServerReflectionInfo"},
}
NEEDS: Mapping[str, Need] = {
    f"/{service}/{method}": need
    for service, rows in TABLE.items()
    for need, methods in rows.items()
    for method in methods.split()
}


def need_of(method: str) -> Need:
    """Of a method by its full name, `/service/method`; one without a row needs the most."""
    return NEEDS.get(method, Scope.ADMIN)
