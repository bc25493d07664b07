"""A time limit for a block."""

import asyncio

import pytest

from services.infra.expiry import Expiries


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with Expiries().after(10.0):
        await asyncio.sleep(0)
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()


@pytest.mark.parametrize("seconds", [0.01, 0.0, -1.0])
async def test_a_block_that_takes_longer_times_out_and_the_task_goes_on(seconds: float) -> None:
    with pytest.raises(TimeoutError), Expiries().after(seconds):
        await asyncio.Event().wait()
    await asyncio.sleep(0)
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()


async def test_another_cancellation_is_no_timeout() -> None:
    async def limited() -> None:
        with Expiries().after(10.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(limited())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="why"), Expiries().after(10.0):
        raise ValueError("why")


async def test_the_outer_limit_holds_within_the_inner() -> None:
    expiries = Expiries()
    with pytest.raises(TimeoutError), expiries.after(0.01), expiries.after(10.0):
        await asyncio.Event().wait()


async def test_limits_that_share_a_timer_end_their_own_blocks_only() -> None:
    expiries = Expiries()
    ended = asyncio.Event()

    async def limited() -> None:
        with expiries.after(0.05):
            await ended.wait()

    short, long = asyncio.create_task(limited()), asyncio.create_task(limited())
    await asyncio.sleep(0)
    with expiries.after(0.05):
        pass
    short.cancel()
    with pytest.raises(asyncio.CancelledError):
        await short
    with pytest.raises(TimeoutError):
        await long
