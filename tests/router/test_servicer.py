"""The door for clients, over a real channel, before scripted leaders."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from alpaserve.v1 import router_pb2, tensor_pb2
from grpc import aio

from services.infra.calls import Calls
from services.infra.errors import Gate, Guarded
from services.router.dispatcher import Dispatcher
from services.router.door import Door
from services.router.holdings import Holdings
from services.router.servicer import RouterServicer, add_router
from tests.channels import channel_to
from tests.router.calls import INPUTS, Leaders
from tests.router.scripted_leader import keep_silent, serve
from tests.waiting import until

INFER = "/alpaserve.v1.Router/Infer"
RECEIVE_TIMEOUT_S = 0.2
LARGEST_BYTES = 1_000
REQUEST = router_pb2.InferRequest(model="patient", inputs=INPUTS, request_id="mine")


@pytest.fixture
async def channel(dispatcher: Dispatcher) -> AsyncIterator[aio.Channel]:
    """To a router that holds two requests, and messages of a hundred bytes beside another."""
    door = Door(dispatcher, Holdings(2, 100), RECEIVE_TIMEOUT_S, LARGEST_BYTES)
    async with channel_to(Guarded(RouterServicer(door), Gate(), Calls(), ""), add_router) as opened:
        yield opened


def ask(channel: aio.Channel, content: bytes) -> Any:
    call: Any = channel.unary_unary(INFER, None, None)
    return call(content, timeout=10)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as refused:
        await call
    return refused.value.code(), str(refused.value.details())


async def test_a_request_is_answered_under_its_own_name(channel: aio.Channel) -> None:
    answer = router_pb2.InferResponse.FromString(await ask(channel, REQUEST.SerializeToString()))
    assert answer.request_id == "mine"
    assert answer.outputs["x"] == INPUTS["x"]
    assert answer.group == "g1"


async def test_requests_without_a_name_get_different_ones(channel: aio.Channel) -> None:
    content = router_pb2.InferRequest(model="patient").SerializeToString()
    answers = [router_pb2.InferResponse.FromString(await ask(channel, content)) for _ in range(3)]
    assert len({answer.request_id for answer in answers} - {""}) == 3


async def test_bytes_that_are_no_request_are_an_invalid_argument(channel: aio.Channel) -> None:
    code, says = await refusal(ask(channel, b"\xff\xff\xff"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "3 bytes" in says


async def test_a_call_without_a_message_is_an_invalid_argument(channel: aio.Channel) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    call: Any = channel.stream_unary(INFER, None, None)
    code, says = await refusal(call(nothing(), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "no message" in says


async def test_a_message_that_never_comes_ends_its_call(channel: aio.Channel) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    call: Any = channel.stream_unary(INFER, None, None)
    code, says = await refusal(call(never(), timeout=10))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert f"{RECEIVE_TIMEOUT_S} s" in says


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"request_id": "é" * 129}, "a request id of 258 bytes, allowed are 256"),
        ({"inputs": {"x": tensor_pb2.Tensor(data=bytes(1_000))}}, "bytes on its way to a group, allowed are 1000"),
    ],
)
async def test_what_would_break_the_connection_to_a_group_is_refused(
    channel: aio.Channel, leaders: Leaders, given: dict[str, Any], says: str
) -> None:
    code, told = await refusal(ask(channel, router_pb2.InferRequest(model="patient", **given).SerializeToString()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in told
    assert not leaders[0].submitted


async def test_what_is_more_than_a_router_holds_is_refused_and_what_ended_makes_room(
    channel: aio.Channel, leaders: Leaders
) -> None:
    for leader in leaders:
        leader.answer = keep_silent
    held = [asyncio.ensure_future(ask(channel, REQUEST.SerializeToString())) for _ in range(2)]
    await until(lambda: leaders[0].submitted and leaders[1].submitted)
    code, says = await refusal(ask(channel, REQUEST.SerializeToString()))
    for leader in leaders:
        leader.send(serve(leader.submitted[0]))
        leader.answer = serve
    answers = await asyncio.gather(*held)
    later = await ask(channel, REQUEST.SerializeToString())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 requests already" in says
    assert len(answers) == 2
    assert later


async def test_more_bytes_than_a_router_holds_are_refused(channel: aio.Channel, leaders: Leaders) -> None:
    leaders[0].answer = keep_silent
    held = asyncio.ensure_future(ask(channel, REQUEST.SerializeToString()))
    await until(lambda: leaders[0].submitted)
    large = router_pb2.InferRequest(model="patient", request_id="n" * 100)
    code, says = await refusal(ask(channel, large.SerializeToString()))
    leaders[0].send(serve(leaders[0].submitted[0]))
    await held
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "bytes of requests already" in says
