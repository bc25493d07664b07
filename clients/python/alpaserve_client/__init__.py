"""Python client of AlpaServe."""

from alpaserve_client.client import AsyncClient, Client
from alpaserve_client.connection import ConnectionOptions
from alpaserve_client.errors import (
    Aborted,
    AlpaServeClientError,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SloUnattainable,
    Unauthenticated,
    Unavailable,
)
from alpaserve_client.inference import InferResult, StageRun
from alpaserve_client.many import InferOutcome, InferRequest
from alpaserve_client.planner import PlannerClient
from alpaserve_client.profiler import ProfilerClient
from alpaserve_client.security import Tls
from alpaserve_client.tensors import decode_tensor, encode_tensor

__all__ = [
    "Aborted",
    "AlpaServeClientError",
    "AlreadyExists",
    "AsyncClient",
    "Client",
    "ConnectionOptions",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InferOutcome",
    "InferRequest",
    "InferResult",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "PlannerClient",
    "ProfilerClient",
    "ResourceExhausted",
    "SloUnattainable",
    "StageRun",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "decode_tensor",
    "encode_tensor",
]
