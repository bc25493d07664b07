"""Work beside a block: ends with it, and ends it."""

import asyncio
from contextlib import suppress

import pytest

from services.infra.background import background, repeating, together


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def stubborn(ended: list[str]) -> None:
    """Loses the first cancellation, as `asyncio.wait_for` may, and ends by itself a while later."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise


async def failing() -> None:
    await asyncio.sleep(0)
    raise KeyError("why")


async def test_what_runs_together_gives_its_results_in_order() -> None:
    assert await together(asyncio.sleep(delay_s, delay_s) for delay_s in (0.02, 0.0, 0.01)) == [0.02, 0.0, 0.01]


async def test_the_first_failure_ends_what_runs_together() -> None:
    ended: list[str] = []
    with pytest.raises(KeyError, match="why"):
        await together([forever(ended), failing(), forever(ended)])
    assert ended == ["cancelled", "cancelled"]


@pytest.mark.parametrize("num_passes", range(1, 4))
async def test_a_cancellation_that_meets_a_failure_is_not_lost(num_passes: int) -> None:
    ended: list[str] = []
    running = asyncio.create_task(together([stubborn(ended), failing()]))
    for _ in range(num_passes):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_end_of_the_block_ends_the_work() -> None:
    ended: list[str] = []
    async with background(forever(ended), forever(ended)):
        await asyncio.sleep(0)
    assert ended == ["cancelled", "cancelled"]


async def test_work_that_loses_a_cancellation_is_cancelled_again() -> None:
    ended: list[str] = []
    async with asyncio.timeout(5), background(stubborn(ended)):
        await asyncio.sleep(0)
    assert ended == ["cancelled"]


async def test_a_failing_block_ends_even_work_that_loses_a_cancellation() -> None:
    ended: list[str] = []

    async def block() -> None:
        async with asyncio.timeout(5), background(stubborn(ended)):
            await asyncio.sleep(0)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await block()
    assert ended == ["cancelled"]


async def test_failing_work_ends_the_block_and_comes_out_as_itself() -> None:
    ended: list[str] = []
    with pytest.raises(KeyError, match="why"):
        async with background(failing(), forever(ended)):
            await asyncio.Event().wait()
    assert ended == ["cancelled"]


async def test_repeating_begins_at_once() -> None:
    async with asyncio.timeout(1):
        async for _ in repeating(1000.0):
            break
