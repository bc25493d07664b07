"""Messages over real connections of the loopback."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from alpaserve.v1 import leader_pb2

from services.infra import messages
from services.infra.messages import Messages
from tests.waiting import until

LARGEST_BYTES = 2**20


class End(Messages[leader_pb2.ToLeader]):
    """Keeps what it hears."""

    def __init__(self) -> None:
        super().__init__(leader_pb2.ToLeader, LARGEST_BYTES)
        self.heard: list[leader_pb2.ToLeader] = []

    def received(self, message: leader_pb2.ToLeader) -> None:
        self.heard.append(message)

    @property
    def sequences(self) -> list[int]:
        return [message.submit.sequence for message in self.heard]


class Deaf(asyncio.Protocol):
    """Reads nothing, or reads and says nothing."""

    def __init__(self, *, is_reading: bool) -> None:
        self._is_reading = is_reading

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self._is_reading:
            transport.pause_reading()


def submit(sequence: int, num_bytes: int = 10) -> leader_pb2.ToLeader:
    return leader_pb2.ToLeader(submit=leader_pb2.Submit(sequence=sequence, request=bytes(num_bytes)))


@asynccontextmanager
async def connected(other: Callable[[], asyncio.BaseProtocol] = End) -> AsyncIterator[tuple[End, asyncio.BaseProtocol]]:
    """An end, and what it is connected to."""
    others: list[asyncio.BaseProtocol] = []

    def new_other() -> asyncio.BaseProtocol:
        others.append(other())
        return others[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(new_other, "127.0.0.1", 0)
    _, end = await loop.create_connection(End, *server.sockets[0].getsockname())
    await until(lambda: others)
    yield end, others[0]
    end.close()
    server.close()


@pytest.mark.parametrize("num_bytes", [1, 3_000, 500_000])
async def test_messages_arrive_whole_and_in_order(num_bytes: int) -> None:
    async with connected() as (end, other):
        assert isinstance(other, End)
        for sequence in range(1, 21):
            end.send(submit(sequence, num_bytes))
        await until(lambda: len(other.heard) == 20)
        assert other.heard == [submit(sequence, num_bytes) for sequence in range(1, 21)]


async def test_a_message_that_comes_byte_by_byte_is_one_message() -> None:
    end = End()
    content = submit(7).SerializeToString()
    for byte in struct.pack(">I", len(content)) + content + struct.pack(">I", len(content)) + content[:-1]:
        end.data_received(bytes([byte]))
    assert end.sequences == [7]
    end.data_received(content[-1:])
    assert end.sequences == [7, 7]


async def test_what_the_other_end_does_not_take_waits_and_can_be_taken_back() -> None:
    async with connected(lambda: Deaf(is_reading=False)) as (end, other):
        assert isinstance(other, Deaf)
        numbers = [end.send(submit(sequence, LARGEST_BYTES // 2)) for sequence in range(1, 41)]
        assert numbers[0] == 0
        waiting = [message.submit.sequence for message in end.waiting()]
        assert waiting == list(range(41 - len(waiting), 41))
        assert end.withdraw(numbers[-1])
        assert not end.withdraw(numbers[-1])
        assert not end.withdraw(numbers[0])
        assert len(list(end.waiting())) == len(waiting) - 1
        other.transport.resume_reading()
        await until(lambda: not list(end.waiting()))


@pytest.mark.parametrize("is_reading", [True, False])
async def test_an_end_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, is_reading: bool) -> None:
    monkeypatch.setattr(messages, "BEAT_S", 0.02)
    async with connected(lambda: Deaf(is_reading=is_reading)) as (end, _):
        end.send(submit(1, LARGEST_BYTES // 2))
        await end.is_lost.wait()


async def test_an_end_with_patience_waits_for_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "BEAT_S", 0.005)
    monkeypatch.setattr(End, "patience", math.inf)
    async with connected(lambda: Deaf(is_reading=True)) as (end, _):
        await asyncio.sleep(4 * messages.SILENT_BEATS * 0.005)
        assert not end.is_lost.is_set()


async def test_ends_that_have_nothing_to_say_stay_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "BEAT_S", 0.02)
    async with connected() as (end, other):
        assert isinstance(other, End)
        await asyncio.sleep(10 * 0.02)
        end.send(submit(1))
        await until(lambda: other.heard)
        assert not end.is_lost.is_set()


async def test_a_message_that_is_too_large_breaks_the_connection() -> None:
    async with connected() as (end, other):
        assert isinstance(other, End)
        end.send(submit(1, LARGEST_BYTES + 1))
        await other.is_lost.wait()
        await end.is_lost.wait()
        assert other.heard == []


async def test_sending_over_a_lost_connection_changes_nothing() -> None:
    async with connected() as (end, other):
        assert isinstance(other, End)
        other.abort("the test says so")
        await end.is_lost.wait()
        assert end.send(submit(1)) == 0


async def test_bytes_that_are_no_message_break_the_connection() -> None:
    async with connected(lambda: Deaf(is_reading=True)) as (end, other):
        assert isinstance(other, Deaf)
        other.transport.write(struct.pack(">I", 1) + b"\xff")
        await end.is_lost.wait()
        assert end.heard == []
