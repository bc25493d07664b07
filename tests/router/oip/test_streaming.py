"""Requests of a stream: how many are taken, and when one is over."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
from alpaserve.oip.v2 import inference_pb2

from services.core.errors import Draining
from services.infra.errors import Gate
from services.router.oip.streaming import MAX_STREAMED, Response, streamed
from tests.waiting import until

AT_ONCE = 0.01


class Asking:
    """The requests of a caller who asks without end."""

    def __init__(self) -> None:
        self.num_taken = 0

    async def requests(self) -> AsyncIterator[bytes]:
        for number in count(1):
            self.num_taken = number
            yield str(number).encode()


async def one() -> AsyncIterator[bytes]:
    yield b"1"


async def echo(content: bytes) -> Response:
    return inference_pb2.ModelStreamInferResponse(error_message=content.decode())


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_a_caller_who_takes_no_answers_is_asked_for_no_more_requests(gate: Gate) -> None:
    asking = Asking()
    answers = streamed(asking.requests(), echo, gate)
    assert (await anext(answers)).error_message == "1"
    await until(lambda: asking.num_taken > MAX_STREAMED)
    closed = await gate.close(AT_ONCE)
    assert (asking.num_taken, closed) == (MAX_STREAMED + 1, False)


async def test_a_request_is_under_way_until_its_answer_is_written(gate: Gate) -> None:
    answers = streamed(one(), echo, gate)
    await anext(answers)
    assert not await gate.close(AT_ONCE)
    with pytest.raises(StopAsyncIteration):
        await anext(answers)
    assert await gate.close(AT_ONCE)


async def test_what_is_under_way_is_answered_before_a_stream_ends_for_a_drain(gate: Gate) -> None:
    asking = Asking()
    answers = streamed(asking.requests(), echo, gate)
    await anext(answers)
    assert not await gate.close(AT_ONCE)
    told = [(await anext(answers)).error_message for _ in range(MAX_STREAMED - 1)]
    with pytest.raises(Draining):
        await anext(answers)
    assert told == [str(number) for number in range(2, MAX_STREAMED + 1)]
    assert await gate.close(AT_ONCE)


async def test_a_stream_that_its_caller_leaves_holds_nothing(gate: Gate) -> None:
    answers = streamed(Asking().requests(), echo, gate)
    await anext(answers)
    await answers.aclose()  # type: ignore[attr-defined]  # a generator
    assert await gate.close(AT_ONCE)
