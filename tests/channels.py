"""A servicer of this process behind a real server, and the channel to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio


@asynccontextmanager
async def channel_to(servicer: object, register: Callable[[Any, aio.Server], None]) -> AsyncIterator[aio.Channel]:
    """Served at a free port while the block runs. `register` is the generated function, or ours."""
    server = aio.server()
    register(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)
