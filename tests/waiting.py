"""Waiting for what happens soon, in another task or process."""

import asyncio
from collections.abc import Callable

from services.infra.background import repeating


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Raises: TimeoutError if it does not come true."""
    async with asyncio.timeout(timeout_s):
        async for _ in repeating(0.005):
            if condition():
                return
