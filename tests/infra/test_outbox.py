"""What waits for a stream travels together."""

import asyncio

from alpaserve.v1 import leader_pb2

from services.infra.outbox import BUNDLE_BYTES, Outbox


def outbox() -> Outbox[leader_pb2.ExecuteRequest]:
    return Outbox(leader_pb2.ExecuteRequest)


def put(box: Outbox[leader_pb2.ExecuteRequest], sequence: int, num_bytes: int = 10) -> None:
    box.add(num_bytes).cancel.sequence = sequence


async def taken(box: Outbox[leader_pb2.ExecuteRequest]) -> list[int]:
    bundle = await box.take()
    return [] if bundle is None else [one.cancel.sequence for one in bundle.more]


async def test_what_waits_is_taken_at_once_in_order() -> None:
    box = outbox()
    for sequence in (1, 2, 3):
        put(box, sequence)
    assert await taken(box) == [1, 2, 3]


async def test_a_bundle_is_no_larger_than_a_stream_likes_but_for_one_message() -> None:
    box = outbox()
    put(box, 1)
    put(box, 2, 10 * BUNDLE_BYTES)
    put(box, 3)
    assert [await taken(box) for _ in range(3)] == [[1], [2], [3]]


async def test_whoever_takes_waits_for_the_next_message() -> None:
    box = outbox()
    waiting = asyncio.create_task(taken(box))
    await asyncio.sleep(0)
    assert not waiting.done()
    put(box, 7)
    assert await waiting == [7]


async def test_a_closed_outbox_gives_what_it_holds_and_then_nothing() -> None:
    box = outbox()
    put(box, 1)
    box.close()
    assert await taken(box) == [1]
    assert await box.take() is None


async def test_closing_wakes_whoever_waits() -> None:
    box = outbox()
    waiting = asyncio.create_task(box.take())
    await asyncio.sleep(0)
    box.close()
    assert await waiting is None
