"""The stream between router and leader, over a real channel."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from alpaserve.v1 import leader_pb2, leader_pb2_grpc, tensor_pb2
from alpaserve_client.tensors import encode_tensor
from grpc import aio

from services.infra.errors import Gate, Guarded
from services.worker.leader.dataplane import LeaderServicer
from services.worker.leader.group import GroupLeader
from tests.waiting import until
from tests.worker.stepped_executor import SteppedExecutor, replica, tagged


@pytest.fixture
def executor() -> SteppedExecutor:
    return SteppedExecutor()


@pytest.fixture
async def leader(executor: SteppedExecutor) -> AsyncIterator[GroupLeader]:
    async with GroupLeader("g1", 1, executor, queue_limit=4) as group:
        await group.load(replica("m", 10.0))
        yield group


@pytest.fixture
def servicer(leader: GroupLeader) -> LeaderServicer:
    return LeaderServicer({"g1": leader}, max_message_bytes=2**20)


@pytest.fixture
async def stub(servicer: LeaderServicer) -> AsyncIterator["leader_pb2_grpc.LeaderAsyncStub"]:
    server = aio.server()
    guarded: Any = Guarded(servicer, Gate())
    leader_pb2_grpc.add_LeaderServicer_to_server(guarded, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield leader_pb2_grpc.LeaderStub(channel)
    await server.stop(None)


SHORT = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FP32, shape=[2])


def opening(group: str = "g1", router: str = "r1") -> leader_pb2.ExecuteRequest:
    return leader_pb2.ExecuteRequest(open=leader_pb2.Open(group=group, router=router))


def submit(sequence: int, tag: str, remaining_s: float | None = None, model: str = "m") -> leader_pb2.ExecuteRequest:
    inputs = {name: encode_tensor(array) for name, array in tagged(tag).items()}
    message = leader_pb2.Submit(sequence=sequence, model=model, inputs=inputs, remaining_s=remaining_s)
    return leader_pb2.ExecuteRequest(submit=message)


def cancel(sequence: int) -> leader_pb2.ExecuteRequest:
    return leader_pb2.ExecuteRequest(cancel=leader_pb2.Cancel(sequence=sequence))


async def answers(
    stub: "leader_pb2_grpc.LeaderAsyncStub", *requests: leader_pb2.ExecuteRequest
) -> list[leader_pb2.ExecuteResponse]:
    """All that the leader says to these messages, sent one after the other."""

    async def sent() -> AsyncIterator[leader_pb2.ExecuteRequest]:
        for request in requests:
            yield request
            await asyncio.sleep(0.01)

    bundles = [response async for response in stub.Execute(sent(), timeout=10)]
    return [response for bundle in bundles for response in bundle.more]


async def test_a_served_request_brings_its_outputs_and_sequence(
    stub: "leader_pb2_grpc.LeaderAsyncStub", executor: SteppedExecutor
) -> None:
    executor.finish(0)
    (answer,) = await answers(stub, opening(), submit(7, "abc"))
    assert answer.served.sequence == 7
    assert answer.served.outputs["tag"] == encode_tensor(np.array([97, 98, 99]))
    assert answer.served.predicted_s == pytest.approx(10.0, abs=1.0)
    assert answer.served.batch_size == 1


async def test_a_rejection_carries_the_clocks_and_what_they_include(
    stub: "leader_pb2_grpc.LeaderAsyncStub", executor: SteppedExecutor
) -> None:
    executor.finish(0)
    rejected, served = await answers(stub, opening(), submit(1, "abc"), submit(2, "late", remaining_s=5.0))
    served, rejected = sorted((rejected, served), key=lambda answer: answer.HasField("rejected"))
    assert served.served.sequence == 1
    assert rejected.rejected.sequence == 2
    assert not rejected.rejected.queue_full
    assert rejected.rejected.state.group == "g1"
    assert dict(rejected.rejected.state.received) == {"r1": 2}


@pytest.mark.parametrize(
    ("request_", "reason", "says"),
    [
        (submit(1, "bad"), leader_pb2.FAILURE_REASON_INVALID_INPUT, "tag is 'bad'"),
        (submit(1, "x", model="other"), leader_pb2.FAILURE_REASON_NOT_LOADED, "'other'"),
        (submit(1, "bug"), leader_pb2.FAILURE_REASON_INTERNAL, "internal error"),
        (
            leader_pb2.ExecuteRequest(submit=leader_pb2.Submit(sequence=1, model="m", inputs={"x": SHORT})),
            leader_pb2.FAILURE_REASON_INVALID_INPUT,
            "needs 8 bytes, got 0",
        ),
    ],
)
async def test_a_request_that_cannot_run_ends_alone(
    stub: "leader_pb2_grpc.LeaderAsyncStub",
    executor: SteppedExecutor,
    request_: leader_pb2.ExecuteRequest,
    reason: leader_pb2.FailureReason.ValueType,
    says: str,
) -> None:
    executor.finish(0)
    failed, served = await answers(stub, opening(), request_, submit(2, "good"))
    assert (failed.failed.sequence, failed.failed.reason) == (1, reason)
    assert says in failed.failed.message
    assert "secret" not in failed.failed.message
    assert served.served.sequence == 2


async def test_cancelling_what_was_answered_changes_nothing(
    stub: "leader_pb2_grpc.LeaderAsyncStub", executor: SteppedExecutor
) -> None:
    executor.finish(0, times=2)
    served = await answers(stub, opening(), submit(1, "a"), submit(2, "b"), cancel(2), cancel(99))
    assert [answer.served.sequence for answer in served] == [1, 2]


async def test_a_cancelled_request_that_waits_never_runs(
    stub: "leader_pb2_grpc.LeaderAsyncStub", executor: SteppedExecutor, leader: GroupLeader
) -> None:
    calls = asyncio.create_task(answers(stub, opening(), submit(1, "kept"), submit(2, "dropped"), cancel(2)))
    # Two are admitted, and one of them ends.
    await until(lambda: leader.num_events == 3)
    executor.finish(0, times=2)
    assert [answer.served.sequence for answer in await calls] == [1]
    assert executor.began == [(0, "kept")]


async def test_what_travels_together_is_taken_in_order(
    stub: "leader_pb2_grpc.LeaderAsyncStub", executor: SteppedExecutor
) -> None:
    executor.finish(0, times=2)
    together = leader_pb2.ExecuteRequest(more=[submit(1, "kept"), submit(2, "dropped"), cancel(2), submit(3, "last")])
    served = await answers(stub, opening(), together)
    assert [answer.served.sequence for answer in served] == [1, 3]
    assert executor.began == [(0, "kept"), (0, "last")]


async def test_a_router_that_goes_away_takes_its_waiting_requests_along(
    stub: "leader_pb2_grpc.LeaderAsyncStub", executor: SteppedExecutor, leader: GroupLeader
) -> None:
    calls = asyncio.create_task(answers(stub, opening(), submit(1, "running"), submit(2, "waiting")))
    await until(lambda: len(leader.clocks.flights) == 2)
    calls.cancel()
    await until(lambda: [flight.is_wanted for flight in leader.clocks.flights.values()] == [False])
    executor.finish(0)
    await leader.drained()
    assert executor.began == [(0, "running")]


async def test_a_router_that_is_behind_is_told_that_the_group_is_going(
    stub: "leader_pb2_grpc.LeaderAsyncStub", servicer: LeaderServicer, leader: GroupLeader, executor: SteppedExecutor
) -> None:
    execute: Any = stub.Execute
    call = execute(timeout=10)
    await call.write(opening())
    await call.write(submit(1, "early"))
    await until(lambda: executor.began)
    leader.refuse_all()
    servicer.forget("g1")
    await call.write(submit(2, "late"))
    (refused,) = (await call.read()).more
    executor.finish(0)
    (served,) = (await call.read()).more
    assert refused.failed.reason == leader_pb2.FAILURE_REASON_DRAINING
    assert not refused.failed.started
    assert served.served.sequence == 1


async def test_the_queue_state_counts_every_routers_requests(
    stub: "leader_pb2_grpc.LeaderAsyncStub", executor: SteppedExecutor, servicer: LeaderServicer, leader: GroupLeader
) -> None:
    calls = asyncio.gather(
        answers(stub, opening(router="r1"), submit(1, "a"), submit(2, "b")),
        answers(stub, opening(router="r2"), submit(1, "c")),
    )
    await until(lambda: len(leader.clocks.flights) == 3)
    state = servicer.queue_state(leader)
    executor.finish(0, times=3)
    await calls
    assert dict(state.received) == {"r1": 2, "r2": 1}
    assert state.num_in_flight == 3
    assert list(state.free_in_s) == [pytest.approx(30.0, abs=1.0)]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (submit(1, "eager"), grpc.StatusCode.INVALID_ARGUMENT),
        (opening("g9"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_a_stream_must_open_a_group_that_is_led_here(
    stub: "leader_pb2_grpc.LeaderAsyncStub", first: leader_pb2.ExecuteRequest, code: grpc.StatusCode
) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await answers(stub, first)
    assert refused.value.code() is code
