"""A process that does not answer hangs; one that is asked by a process that stood still itself does not."""

import asyncio
import time

from services.worker.silence import silence
from tests.waiting import until

EVERY_S = 0.01


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_process_that_never_answers_hangs() -> None:
    async with asyncio.timeout(5):
        await silence(never, lambda: 0.05, EVERY_S)


async def test_a_process_that_is_gone_is_not_waited_for() -> None:
    async def gone() -> None:
        raise ConnectionError

    async with asyncio.timeout(5):
        await silence(gone, lambda: 3600.0, EVERY_S)


async def test_a_process_that_answers_late_but_in_time_does_not_hang() -> None:
    num_answers = 0

    async def late() -> None:
        nonlocal num_answers
        await asyncio.sleep(3 * EVERY_S)
        num_answers += 1

    watching = asyncio.create_task(silence(late, lambda: 1000 * EVERY_S, EVERY_S))
    await until(lambda: num_answers == 3)
    assert not watching.done()
    watching.cancel()


async def test_time_in_which_the_asking_process_stood_still_is_not_counted() -> None:
    answered = asyncio.Event()
    watching = asyncio.create_task(silence(answered.wait, lambda: 0.2, EVERY_S))
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 - the loop stands still
    await asyncio.sleep(2 * EVERY_S)
    assert not watching.done()
    answered.set()
    await asyncio.sleep(2 * EVERY_S)
    assert not watching.done()
    watching.cancel()


async def test_patience_that_shrinks_meanwhile_counts() -> None:
    left_s = 3600.0
    watching = asyncio.create_task(silence(never, lambda: left_s, EVERY_S))
    await asyncio.sleep(3 * EVERY_S)
    assert not watching.done()
    left_s = 0.0
    async with asyncio.timeout(5):
        await watching


async def test_an_answer_that_comes_as_patience_shrinks_is_waited_for() -> None:
    answered = asyncio.Event()

    def shrinking() -> float:
        asyncio.get_running_loop().call_soon(answered.set)
        return 0.0

    watching = asyncio.create_task(silence(answered.wait, shrinking, EVERY_S))
    await asyncio.sleep(3 * EVERY_S)
    assert not watching.done()
    watching.cancel()
