"""The connection between router and leader, over a real network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
from alpaserve.v1 import leader_pb2, router_pb2, tensor_pb2
from alpaserve_client.tensors import encode_tensor

from services.core.signature import Signature, TensorSpec
from services.infra.messages import Messages
from services.worker.leader.dataplane import DataPlane
from services.worker.leader.group import GroupLeader
from tests.waiting import until
from tests.worker.stepped_executor import SteppedExecutor, replica, tagged


class Caller(Messages[leader_pb2.FromLeader]):
    """A router that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(leader_pb2.FromLeader, 2**20)
        self.told: list[leader_pb2.FromLeader] = []

    def received(self, message: leader_pb2.FromLeader) -> None:
        self.told.append(message)

    @property
    def answers(self) -> list[leader_pb2.FromLeader]:
        return [message for message in self.told if not message.HasField("opened")]


Connect = Callable[[], Awaitable[Caller]]


@pytest.fixture
def executor() -> SteppedExecutor:
    return SteppedExecutor()


@pytest.fixture
async def leader(executor: SteppedExecutor) -> AsyncIterator[GroupLeader]:
    async with GroupLeader("g1", 1, executor, queue_limit=4) as group:
        await group.load(replica("m", 10.0))
        yield group


@pytest.fixture
async def plane(leader: GroupLeader) -> AsyncIterator[DataPlane]:
    plane = DataPlane({"g1": leader}, max_message_bytes=2**20)
    yield plane
    await plane.close()


@pytest.fixture
async def connect(plane: DataPlane) -> Connect:
    port = await plane.open("127.0.0.1", 0)

    async def connected() -> Caller:
        _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)
        return caller

    return connected


SHORT = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FP32, shape=[2])


def opening(group: str = "g1", router: str = "r1") -> leader_pb2.ToLeader:
    return leader_pb2.ToLeader(open=leader_pb2.Open(group=group, router=router))


def submit(sequence: int, tag: str, remaining_s: float | None = None, model: str = "m") -> leader_pb2.ToLeader:
    inputs = {name: encode_tensor(array) for name, array in tagged(tag).items()}
    return submission(sequence, router_pb2.InferRequest(model=model, inputs=inputs).SerializeToString(), remaining_s)


def submission(sequence: int, request: bytes, remaining_s: float | None = None) -> leader_pb2.ToLeader:
    return leader_pb2.ToLeader(submit=leader_pb2.Submit(sequence=sequence, request=request, remaining_s=remaining_s))


def outputs(served: leader_pb2.Served) -> dict[str, tensor_pb2.Tensor]:
    return dict(router_pb2.InferResponse.FromString(served.response).outputs)


def cancel(sequence: int) -> leader_pb2.ToLeader:
    return leader_pb2.ToLeader(cancel=leader_pb2.Cancel(sequence=sequence))


async def answers(
    connect: Connect, *messages: leader_pb2.ToLeader, num_answers: int | None = None
) -> list[leader_pb2.FromLeader]:
    """All that the leader says to these messages, sent one after the other: by default an answer to each request."""
    caller = await connect()
    expected = sum(message.HasField("submit") for message in messages) if num_answers is None else num_answers
    try:
        for message in messages:
            caller.send(message)
            await asyncio.sleep(0.01)
        await until(lambda: len(caller.answers) >= expected)
        return caller.answers
    finally:
        caller.close()


async def test_a_served_request_brings_its_outputs_and_sequence(connect: Connect, executor: SteppedExecutor) -> None:
    executor.finish(0)
    (answer,) = await answers(connect, opening(), submit(7, "abc"))
    assert answer.served.sequence == 7
    assert outputs(answer.served)["tag"] == encode_tensor(np.array([97, 98, 99]))
    assert answer.served.predicted_s == pytest.approx(10.0, abs=1.0)
    assert router_pb2.InferResponse.FromString(answer.served.response).batch_size == 1


async def test_a_rejection_carries_the_clocks_and_what_they_include(
    connect: Connect, executor: SteppedExecutor
) -> None:
    executor.finish(0)
    rejected, served = await answers(connect, opening(), submit(1, "abc"), submit(2, "late", remaining_s=5.0))
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
            submission(1, router_pb2.InferRequest(model="m", inputs={"x": SHORT}).SerializeToString()),
            leader_pb2.FAILURE_REASON_INVALID_INPUT,
            "input 'x': tensor of float32 and shape (2,) needs 8 bytes, got 0",
        ),
        (submission(1, b"\xff"), leader_pb2.FAILURE_REASON_INVALID_INPUT, "1 bytes that are no InferRequest"),
    ],
)
async def test_a_request_that_cannot_run_ends_alone(
    connect: Connect,
    executor: SteppedExecutor,
    request_: leader_pb2.ToLeader,
    reason: leader_pb2.FailureReason.ValueType,
    says: str,
) -> None:
    executor.finish(0)
    failed, served = await answers(connect, opening(), request_, submit(2, "good"))
    assert (failed.failed.sequence, failed.failed.reason) == (1, reason)
    assert says in failed.failed.message
    assert "secret" not in failed.failed.message
    assert served.served.sequence == 2


@pytest.mark.parametrize(
    ("name", "says"), [("x", "'x' is of strings, which"), ("s", "'s': tensor of strings and shape")]
)
async def test_strings_are_read_only_where_the_model_takes_them(
    connect: Connect, executor: SteppedExecutor, name: str, says: str
) -> None:
    executor.signatures["m"] = Signature((TensorSpec("x", "INT8", (-1,)), TensorSpec("s", "BYTES", (-1,))), ())
    malformed = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_BYTES, shape=[1], data=b"\1")
    request = router_pb2.InferRequest(model="m", inputs={name: malformed})
    (failed,) = await answers(connect, opening(), submission(1, request.SerializeToString()))
    assert failed.failed.reason == leader_pb2.FAILURE_REASON_INVALID_INPUT
    assert says in failed.failed.message


async def test_cancelling_what_was_answered_changes_nothing(connect: Connect, executor: SteppedExecutor) -> None:
    executor.finish(0, times=2)
    served = await answers(connect, opening(), submit(1, "a"), submit(2, "b"), cancel(2), cancel(99))
    assert [answer.served.sequence for answer in served] == [1, 2]


async def test_a_cancelled_request_that_waits_never_runs(
    connect: Connect, executor: SteppedExecutor, leader: GroupLeader
) -> None:
    calls = asyncio.create_task(
        answers(connect, opening(), submit(1, "kept"), submit(2, "dropped"), cancel(2), num_answers=1)
    )
    # Two are admitted, and one of them ends.
    await until(lambda: leader.num_events == 3)
    executor.finish(0, times=2)
    assert [answer.served.sequence for answer in await calls] == [1]
    assert executor.began == [(0, "kept")]


async def test_what_travels_together_is_taken_in_order(connect: Connect, executor: SteppedExecutor) -> None:
    executor.finish(0, times=2)
    caller = await connect()
    for message in (opening(), submit(1, "kept"), submit(2, "dropped"), cancel(2), submit(3, "last")):
        caller.send(message)
    await until(lambda: len(caller.answers) == 2)
    assert [answer.served.sequence for answer in caller.answers] == [1, 3]
    assert executor.began == [(0, "kept"), (0, "last")]
    caller.close()


async def test_a_router_that_goes_away_takes_its_waiting_requests_along(
    connect: Connect, executor: SteppedExecutor, leader: GroupLeader
) -> None:
    calls = asyncio.create_task(answers(connect, opening(), submit(1, "running"), submit(2, "waiting")))
    await until(lambda: len(leader.clocks.flights) == 2)
    calls.cancel()
    await until(lambda: [flight.is_wanted for flight in leader.clocks.flights.values()] == [False])
    executor.finish(0)
    await leader.drained()
    assert executor.began == [(0, "running")]


async def test_a_router_that_is_behind_is_told_that_the_group_is_going(
    connect: Connect, plane: DataPlane, leader: GroupLeader, executor: SteppedExecutor
) -> None:
    caller = await connect()
    caller.send(opening())
    caller.send(submit(1, "early"))
    await until(lambda: executor.began)
    leader.refuse_all()
    plane.forget("g1")
    caller.send(submit(2, "late"))
    await until(lambda: len(caller.answers) == 1)
    executor.finish(0)
    await until(lambda: len(caller.answers) == 2)
    refused, served = caller.answers
    caller.close()
    assert refused.failed.reason == leader_pb2.FAILURE_REASON_DRAINING
    assert not refused.failed.started
    assert served.served.sequence == 1


async def test_the_queue_state_counts_every_routers_requests(
    connect: Connect, executor: SteppedExecutor, plane: DataPlane, leader: GroupLeader
) -> None:
    calls = asyncio.gather(
        answers(connect, opening(router="r1"), submit(1, "a"), submit(2, "b")),
        answers(connect, opening(router="r2"), submit(1, "c")),
    )
    await until(lambda: len(leader.clocks.flights) == 3)
    state = plane.queue_state(leader)
    executor.finish(0, times=3)
    await calls
    assert dict(state.received) == {"r1": 2, "r2": 1}
    assert state.num_in_flight == 3
    assert list(state.free_in_s) == [pytest.approx(30.0, abs=1.0)]


@pytest.mark.parametrize(
    ("first", "says"), [(submit(1, "eager"), "must be open"), (opening("g9"), "group 'g9' is not led here")]
)
async def test_a_connection_must_open_a_group_that_is_led_here(
    connect: Connect, first: leader_pb2.ToLeader, says: str
) -> None:
    caller = await connect()
    caller.send(first)
    await caller.is_lost.wait()
    (refused,) = caller.told
    assert says in refused.refused.message


async def test_a_group_that_is_led_here_says_so(connect: Connect) -> None:
    caller = await connect()
    caller.send(opening())
    await until(lambda: caller.told)
    assert [message.WhichOneof("message") for message in caller.told] == ["opened"]
    caller.close()
