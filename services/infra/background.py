"""Work that goes on beside a block of code, and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

CANCEL_AGAIN_S = 0.1
ResultT = TypeVar("ResultT")


@asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines while the block runs; their failure ends the block, its end cancels them.

    A lone error comes out as itself, not as a group, so that callers can name what they catch.
    """
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(coroutine) for coroutine in coroutines]
            try:
                yield
            finally:
                await cancelled(running)
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise


class Completion:
    """Coroutines that go on when their caller is cancelled: half a step would leave books and facts apart."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Await the coroutine; it ends by itself whatever becomes of the caller."""
        step = asyncio.create_task(coroutine)
        self._running.add(step)
        step.add_done_callback(self._running.discard)
        return await asyncio.shield(step)

    async def wait(self) -> None:
        """Until all have ended."""
        if self._running:
            await asyncio.wait(self._running)


async def together(coroutines: Iterable[Coroutine[Any, Any, ResultT]]) -> list[ResultT]:
    """The results of coroutines that run side by side. The first failure ends the others, and is raised.

    Before Python 3.13 a TaskGroup that ends because of a failure forgets that its own task is cancelled meanwhile.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await cancelled(tasks)
        failures = [error for task in tasks if not task.cancelled() and (error := task.exception())]
    if failures:
        raise failures[0]
    return [task.result() for task in tasks]


async def cancelled(running: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: before Python 3.12 a cancellation that meets the end of an
    `asyncio.wait_for` is lost, and the Redis client sends under one."""
    pending = set(running)
    while pending:
        for one in pending:
            one.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


async def repeating(period_s: float) -> AsyncIterator[None]:
    """Yield at once, then `period_s` after each pass."""
    while True:
        yield
        await asyncio.sleep(period_s)
