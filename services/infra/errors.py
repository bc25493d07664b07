"""The one table from errors to gRPC statuses, and the guard that applies it to a servicer."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.core import errors
from services.infra.calls import Calls, Method, UnderWay
from services.infra.store.connection import STORE_ERRORS

log = structlog.get_logger()

DOMAIN = "alpaserve"
DETAILS = "grpc-status-details-bin"
# A message may repeat what a caller sent, and a status travels in trailers, which have bounds of their own.
MAX_TOLD_BYTES = 1_000

# error → status, reason of ErrorInfo (None: no ErrorInfo). The nearest ancestor's row holds.
STATUS: dict[type[errors.AlpaServeError], tuple[grpc.StatusCode, str | None]] = {
    errors.InvalidArgument: (grpc.StatusCode.INVALID_ARGUMENT, None),
    errors.InvalidInput: (grpc.StatusCode.INVALID_ARGUMENT, None),
    errors.InvalidModel: (grpc.StatusCode.INVALID_ARGUMENT, None),
    errors.InvalidProfile: (grpc.StatusCode.INVALID_ARGUMENT, None),
    errors.InvalidSpec: (grpc.StatusCode.INVALID_ARGUMENT, None),
    errors.InvalidPlacement: (grpc.StatusCode.INVALID_ARGUMENT, None),
    errors.InvalidWorkload: (grpc.StatusCode.INVALID_ARGUMENT, None),
    errors.DoesNotFit: (grpc.StatusCode.FAILED_PRECONDITION, "DOES_NOT_FIT"),
    errors.UnknownModel: (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"),
    errors.UnknownProfile: (grpc.StatusCode.NOT_FOUND, "UNKNOWN_PROFILE"),
    errors.NotPlaced: (grpc.StatusCode.FAILED_PRECONDITION, "NOT_PLACED"),
    errors.StillPlaced: (grpc.StatusCode.FAILED_PRECONDITION, "STILL_PLACED"),
    errors.AlreadyExists: (grpc.StatusCode.ALREADY_EXISTS, None),
    errors.VersionConflict: (grpc.StatusCode.ABORTED, "VERSION_CONFLICT"),
    errors.Draining: (grpc.StatusCode.UNAVAILABLE, "DRAINING"),
    errors.GroupUnavailable: (grpc.StatusCode.UNAVAILABLE, "GROUP_UNAVAILABLE"),
    errors.OutcomeUnknown: (grpc.StatusCode.ABORTED, "OUTCOME_UNKNOWN"),
    errors.DeadlinePassed: (grpc.StatusCode.DEADLINE_EXCEEDED, None),
    errors.SloUnattainable: (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLO_UNATTAINABLE"),
    errors.PlannerUnavailable: (grpc.StatusCode.UNAVAILABLE, "PLANNER_UNAVAILABLE"),
    errors.StoreUnavailable: (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    errors.Unauthenticated: (grpc.StatusCode.UNAUTHENTICATED, None),
    errors.PermissionDenied: (grpc.StatusCode.PERMISSION_DENIED, None),
}


def status_of(error: errors.AlpaServeError) -> tuple[grpc.StatusCode, str | None]:
    """The status and the ErrorInfo reason of an error."""
    if isinstance(error, errors.OutcomeUnknown) and error.idempotent:
        return grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN"
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_details(error: errors.AlpaServeError, reason: str) -> list[any_pb2.Any]:
    """The google.rpc details that go with a reason."""
    reported = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    details: list[Any] = [reported]
    if isinstance(error, errors.SloUnattainable):
        reported.metadata["predicted_s"] = repr(error.predicted_s)
        reported.metadata["allowed_s"] = repr(error.allowed_s)
        retry = duration_pb2.Duration()
        retry.FromNanoseconds(max(0, int(error.retry_after_s * 1e9)))
        details.append(error_details_pb2.RetryInfo(retry_delay=retry))
    packed = []
    for detail in details:
        message = any_pb2.Any()
        message.Pack(detail)
        packed.append(message)
    return packed


def told(error: errors.AlpaServeError) -> str:
    """The message of an error, or the beginning of a long one."""
    message = str(error).encode(errors="replace")
    whole = len(message) <= MAX_TOLD_BYTES
    return message[:MAX_TOLD_BYTES].decode(errors="ignore") + ("" if whole else " …")


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: errors.AlpaServeError) -> None:
    """End the call with the status of an error."""
    (code, reason), message = status_of(error), told(error)
    if reason is None:
        await context.abort(code, message)
    number = code_pb2.Code.Value(code.name)
    status = status_pb2.Status(code=number, message=message, details=error_details(error, str(reason)))
    await context.abort(code, message, ((DETAILS, status.SerializeToString()),))


def told_details(error: grpc.aio.AioRpcError) -> tuple[tuple[str, str | bytes], ...]:
    """The google.rpc details of another service's refusal, to be passed on."""
    metadata: Any = error.trailing_metadata() or ()
    return tuple((key, value) for key, value in metadata if key == DETAILS)


async def end_call(context: grpc.aio.ServicerContext[Any, Any], method: str, error: Exception) -> None:
    """End the call as the error asks; what another service refused is refused in its words, and what nobody foresaw
    is logged and told as INTERNAL."""
    if isinstance(error, errors.AlpaServeError):
        await abort(context, error)
    if isinstance(error, grpc.aio.AioRpcError):
        await context.abort(error.code(), str(error.details()), told_details(error))
    if isinstance(error, STORE_ERRORS):
        await abort(context, errors.StoreUnavailable("the shared store cannot be reached, or refuses"))
    log.error("call_failed", method=method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "internal error")


class Gate:
    """Counts the calls under way, and once closed lets no new one in."""

    def __init__(self) -> None:
        self._num_inside = 0
        self._is_closed = False
        self._empty = asyncio.Event()

    def enter(self) -> None:
        """Raises: Draining once the gate is closed."""
        if self._is_closed:
            raise errors.Draining("this process is going away")
        self._num_inside += 1

    def leave(self) -> None:
        self._num_inside -= 1
        if self._is_closed and not self._num_inside:
            self._empty.set()

    async def close(self, timeout_s: float) -> bool:
        """Wait for the calls under way; false if some are still there after `timeout_s`."""
        self._is_closed = True
        if not self._num_inside:
            return True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        return not self._num_inside


class Guarded:
    """A servicer whose methods end with the table's status instead of raising.

    Calls with one answer pass the gate; streams may outlive it, and end with the server. `calls` counts them under the
    name of the service.
    """

    def __init__(self, servicer: object, gate: Gate, calls: Calls, service: str) -> None:
        methods: list[tuple[str, Any]] = inspect.getmembers(servicer, callable)
        for name, method in methods:
            if name[0].isupper():
                streams = inspect.isasyncgenfunction(method)
                guard = guard_stream if streams else guard_unary
                setattr(self, name, guard(method, gate, calls.method(service, name)))


def guard_unary(
    method: Callable[[Any, Any], Awaitable[Any]], gate: Gate, calls: Method
) -> Callable[[Any, Any], Awaitable[Any]]:
    @wraps(method)
    async def guarded(request: Any, context: Any) -> Any:
        with UnderWay(calls, context):
            try:
                gate.enter()
                try:
                    return await method(request, context)
                finally:
                    gate.leave()
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                return await end_call(context, method.__name__, error)

    return guarded


def guard_stream(
    method: Callable[[Any, Any], AsyncIterator[Any]], gate: Gate, calls: Method
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    @wraps(method)
    async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
        with UnderWay(calls, context):
            try:
                gate.enter()
                gate.leave()
                async for response in method(request, context):
                    yield response
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await end_call(context, method.__name__, error)

    return guarded
