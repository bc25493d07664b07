"""What a call can end with: one exception per status that the services document."""

import math
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

_DOMAIN: Final = "alpaserve"
_SLO_UNATTAINABLE: Final = "SLO_UNATTAINABLE"


class AlpaServeClientError(Exception):
    """A call that ended without an answer.

    `code` is its gRPC status, `message` the service's explanation, `reason` a constant that says
    which of the status's cases it is (often empty), `retry_after_s` when another try may do better.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.retry_after_s = retry_after_s


class InvalidArgument(AlpaServeClientError):
    """A malformed tensor, a negative SLO, inputs that the model does not take."""


class NotFound(AlpaServeClientError):
    """A model, profile or placement version that does not exist."""


class AlreadyExists(AlpaServeClientError):
    """A name that is taken by something different."""


class FailedPrecondition(AlpaServeClientError):
    """The model is registered but placed nowhere, or does not fit anywhere."""


class ResourceExhausted(AlpaServeClientError):
    """A message above the size limit."""


class SloUnattainable(ResourceExhausted):
    """The request was predicted to miss its deadline, or the queue was full; nothing was run.

    `predicted_s` and `allowed_s` are seconds from the arrival at the router; NaN if not told.
    """

    def __init__(self, message: str, *, predicted_s: float, allowed_s: float, retry_after_s: float | None) -> None:
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        super().__init__(message, code=code, reason=_SLO_UNATTAINABLE, retry_after_s=retry_after_s)
        self.predicted_s = predicted_s
        self.allowed_s = allowed_s


class DeadlineExceeded(AlpaServeClientError):
    """The deadline passed while the request waited or ran."""


class Aborted(AlpaServeClientError):
    """A plan made for an older placement version, or, with the reason OUTCOME_UNKNOWN, a request
    that was started and must not be tried again."""


class Unavailable(AlpaServeClientError):
    """Nobody serves there now. With a `reason`, or if there was no connection, safe to try again; otherwise the
    connection broke, and the request may have run."""


class Unauthenticated(AlpaServeClientError):
    """The service wants credentials that it did not get."""


class PermissionDenied(AlpaServeClientError):
    """The credentials do not allow the call."""


class Internal(AlpaServeClientError):
    """A bug of the service; its log has the details."""


_ERRORS: Final[dict[grpc.StatusCode, type[AlpaServeClientError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.INTERNAL: Internal,
}


class _EndedCall(Protocol):
    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...


def error_of(rpc_error: grpc.RpcError) -> AlpaServeClientError:
    """The typed error of a failed call, synchronous or asyncio."""
    call = cast(_EndedCall, rpc_error)
    code, message = call.code(), call.details() or ""
    status = _rich_status(rpc_error)
    info, retry_after_s = _error_info(status), _retry_after(status)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and info.reason == _SLO_UNATTAINABLE:
        return SloUnattainable(
            message,
            predicted_s=_seconds(info, "predicted_s"),
            allowed_s=_seconds(info, "allowed_s"),
            retry_after_s=retry_after_s,
        )
    kind = _ERRORS.get(code, AlpaServeClientError)
    return kind(message, code=code, reason=info.reason, retry_after_s=retry_after_s)


class typed_errors(AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """Within it, a failed call raises its typed error."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, grpc.RpcError):
            raise error_of(error) from error


def _rich_status(rpc_error: grpc.RpcError) -> status_pb2.Status:
    """The status with its details; empty where there are none or a stranger garbled them."""
    try:
        return rpc_status.from_call(cast(grpc.Call, rpc_error)) or status_pb2.Status()
    except (ValueError, DecodeError):
        return status_pb2.Status()


def _error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == _DOMAIN:
            return info
    return error_details_pb2.ErrorInfo()


def _retry_after(status: status_pb2.Status) -> float | None:
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToNanoseconds() / 1e9)
    return None


def _seconds(info: error_details_pb2.ErrorInfo, key: str) -> float:
    try:
        return float(info.metadata[key]) if key in info.metadata else math.nan
    except ValueError:
        return math.nan
