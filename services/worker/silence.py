"""Whether a process hangs: it is there, and does not answer."""

import asyncio
from collections.abc import Awaitable, Callable

ASK_EVERY_S = 0.5


async def silence(
    ask: Callable[[], Awaitable[object]], patience_s: Callable[[], float], every_s: float = ASK_EVERY_S
) -> None:
    """Ask over and over; returns once an answer has been awaited for `every_s` beyond `patience_s`, which may change
    meanwhile, or when an answer fails. What kept the process may be what patience was for: an answer that is due as
    patience shrinks has `every_s` to come. Only time that passed while this process ran counts: it may have stood
    still itself.
    """
    while True:
        answer = asyncio.ensure_future(ask())
        awaited_s = 0.0
        is_overdue = False
        try:
            while not answer.done() and not is_overdue:
                is_overdue = awaited_s >= patience_s()
                await asyncio.wait([answer], timeout=every_s)
                awaited_s += every_s
            if not answer.done() or answer.cancelled() or answer.exception() is not None:
                return
        finally:
            answer.cancel()
        await asyncio.sleep(every_s)
