"""The one table from errors to statuses, over a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alpaserve.v1 import profiler_pb2, profiler_pb2_grpc
from google.rpc import code_pb2, error_details_pb2
from grpc import StatusCode, aio
from grpc_status import rpc_status
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.core import errors
from services.infra.calls import Calls
from services.infra.errors import STATUS, Gate, Guarded, status_of
from tests.channels import channel_to
from tests.waiting import until

DOCUMENTED = [
    (errors.UnknownModel("m"), StatusCode.NOT_FOUND),
    (errors.InvalidArgument("m"), StatusCode.INVALID_ARGUMENT),
    (errors.InvalidInput("m"), StatusCode.INVALID_ARGUMENT),
    (errors.InvalidModel("m"), StatusCode.INVALID_ARGUMENT),
    (errors.InvalidPlacement("m"), StatusCode.INVALID_ARGUMENT),
    (errors.SloUnattainable("m", 2.0, 1.0, 1.0), StatusCode.RESOURCE_EXHAUSTED),
    (errors.DeadlinePassed("m"), StatusCode.DEADLINE_EXCEEDED),
    (errors.NotPlaced("m"), StatusCode.FAILED_PRECONDITION),
    (errors.DoesNotFit("m"), StatusCode.FAILED_PRECONDITION),
    (errors.VersionConflict("m"), StatusCode.ABORTED),
    (errors.Draining("m"), StatusCode.UNAVAILABLE),
    (errors.GroupUnavailable("m"), StatusCode.UNAVAILABLE),
    (errors.StoreUnavailable("m"), StatusCode.UNAVAILABLE),
    (errors.OutcomeUnknown("m", idempotent=True), StatusCode.UNAVAILABLE),
    (errors.OutcomeUnknown("m", idempotent=False), StatusCode.ABORTED),
]


def children(kind: type[errors.AlpaServeError]) -> set[type[errors.AlpaServeError]]:
    return {kind}.union(*map(children, kind.__subclasses__()))


class Raising(profiler_pb2_grpc.ProfilerServicer):
    """Ends calls as it was told."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.num_calls = 0

    async def ListProfiles(self, request: Any, context: Any) -> profiler_pb2.ListProfilesResponse:
        self.num_calls += 1
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return profiler_pb2.ListProfilesResponse()

    async def Profile(self, request: Any, context: Any) -> AsyncIterator[profiler_pb2.ProfileResponse]:
        yield profiler_pb2.ProfileResponse()
        if self.error is not None:
            raise self.error

    async def GetProfile(self, request: Any, context: Any) -> profiler_pb2.GetProfileResponse:
        raise NotImplementedError

    async def ImportProfile(self, request: Any, context: Any) -> profiler_pb2.ImportProfileResponse:
        raise NotImplementedError

    async def RemoveProfile(self, request: Any, context: Any) -> profiler_pb2.RemoveProfileResponse:
        raise NotImplementedError


@pytest.fixture
def raising() -> Raising:
    return Raising()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def stub(raising: Raising, gate: Gate, calls: Calls) -> AsyncIterator[Any]:
    guarded = Guarded(raising, gate, calls, "Profiler")
    async with channel_to(guarded, profiler_pb2_grpc.add_ProfilerServicer_to_server) as channel:
        yield profiler_pb2_grpc.ProfilerStub(channel)


async def ended(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as failed:
        await call
    return failed.value


async def ended_stream(stub: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as failed:
        async for _ in stub.Profile(profiler_pb2.ProfileRequest()):
            pass
    return failed.value


@pytest.mark.parametrize(
    "kind",
    sorted(
        (
            kind
            for kind in children(errors.AlpaServeError) - {errors.AlpaServeError}
            if kind.__module__ == errors.__name__
        ),
        key=str,
    ),
)
def test_every_error_has_a_row(kind: type[errors.AlpaServeError]) -> None:
    assert kind in STATUS


@pytest.mark.parametrize(("error", "code"), DOCUMENTED, ids=repr)
async def test_an_error_ends_the_call_with_its_status_and_message(
    raising: Raising, stub: Any, error: errors.AlpaServeError, code: StatusCode
) -> None:
    raising.error = error
    failed = await ended(stub.ListProfiles(profiler_pb2.ListProfilesRequest()))
    assert (failed.code(), failed.details()) == (code, "m")


@pytest.mark.parametrize("kind", [errors.InvalidArgument, errors.Draining])
async def test_a_status_repeats_only_the_beginning_of_what_is_long(
    raising: Raising, stub: Any, kind: type[errors.AlpaServeError]
) -> None:
    raising.error = kind("no " + 100_000 * "🔥")
    failed = await ended(stub.ListProfiles(profiler_pb2.ListProfilesRequest()))
    assert failed.code() is status_of(raising.error)[0]
    assert failed.details() == "no " + 249 * "🔥" + " …"


async def test_an_unattainable_slo_tells_both_times_and_when_to_come_back(raising: Raising, stub: Any) -> None:
    raising.error = errors.SloUnattainable("late", predicted_s=2.5, allowed_s=1.25, retry_after_s=1.5)
    failed = await ended(stub.ListProfiles(profiler_pb2.ListProfilesRequest()))
    call: Any = failed
    status = rpc_status.from_call(call)
    error_info, retry_info = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status is not None
    assert status.code == code_pb2.RESOURCE_EXHAUSTED
    assert status.details[0].Unpack(error_info)
    assert status.details[1].Unpack(retry_info)
    assert (error_info.reason, error_info.domain) == ("SLO_UNATTAINABLE", "alpaserve")
    assert dict(error_info.metadata) == {"predicted_s": "2.5", "allowed_s": "1.25"}
    assert retry_info.retry_delay.ToMilliseconds() == 1500


@pytest.mark.parametrize("idempotent", [True, False])
def test_an_unknown_outcome_says_so_whatever_its_status(idempotent: bool) -> None:
    assert status_of(errors.OutcomeUnknown("m", idempotent=idempotent))[1] == "OUTCOME_UNKNOWN"


@pytest.mark.parametrize("error", [ZeroDivisionError("a secret"), KeyError("a secret"), TimeoutError("a secret")])
async def test_what_nobody_foresaw_is_internal_and_tells_nothing(raising: Raising, stub: Any, error: Exception) -> None:
    raising.error = error
    unary = await ended(stub.ListProfiles(profiler_pb2.ListProfilesRequest()))
    stream = await ended_stream(stub)
    assert (unary.code(), unary.details()) == (StatusCode.INTERNAL, "internal error")
    assert (stream.code(), stream.details()) == (StatusCode.INTERNAL, "internal error")


@pytest.mark.parametrize("error", [RedisConnectionError("10.0.0.1"), RedisTimeoutError("10.0.0.1")])
async def test_a_missing_store_is_unavailable_and_not_named(raising: Raising, stub: Any, error: Exception) -> None:
    raising.error = error
    failed = await ended(stub.ListProfiles(profiler_pb2.ListProfilesRequest()))
    assert failed.code() is StatusCode.UNAVAILABLE
    assert "10.0.0.1" not in str(failed.details())


async def test_a_stream_that_fails_keeps_what_it_said_before(raising: Raising, stub: Any) -> None:
    raising.error = errors.NotPlaced("nothing")
    call = stub.Profile(profiler_pb2.ProfileRequest())
    assert await call.read() == profiler_pb2.ProfileResponse()
    failed = await ended(call.read())
    assert failed.code() is StatusCode.FAILED_PRECONDITION


async def test_a_closed_gate_refuses_new_calls_and_waits_for_those_inside(
    raising: Raising, stub: Any, gate: Gate
) -> None:
    raising.may_answer.clear()
    inside = asyncio.ensure_future(stub.ListProfiles(profiler_pb2.ListProfilesRequest()))
    await until(lambda: raising.num_calls)
    closing = asyncio.create_task(gate.close(5.0))
    refused = await ended(stub.ListProfiles(profiler_pb2.ListProfilesRequest()))
    refused_stream = await ended_stream(stub)
    assert not closing.done()
    raising.may_answer.set()
    assert await closing
    assert await inside == profiler_pb2.ListProfilesResponse()
    assert refused.code() is refused_stream.code() is StatusCode.UNAVAILABLE
    assert raising.num_calls == 1


async def test_a_gate_gives_up_after_its_time() -> None:
    gate = Gate()
    gate.enter()
    assert not await gate.close(0.01)


async def test_an_empty_gate_closes_at_once() -> None:
    gate = Gate()
    gate.enter()
    gate.leave()
    assert await gate.close(0.0)
