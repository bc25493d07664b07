"""The requests of one stream: several at once, answered as they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from alpaserve.oip.v2 import inference_pb2

from services.core.errors import Draining
from services.infra.background import background
from services.infra.errors import Gate

Response = inference_pb2.ModelStreamInferResponse
# Requests of one stream that are under way at once; further ones wait in the stream.
MAX_STREAMED = 64


async def streamed(
    requests: AsyncIterator[bytes], answer: Callable[[bytes], Awaitable[Response]], gate: Gate
) -> AsyncIterator[Response]:
    """Answers, as soon as they are ready. Each request passes the gate, and is under way until its answer is written.

    Raises: Draining for a request that the gate keeps out, once those before it have their answers.
    """
    ready: asyncio.Queue[tuple[Response, asyncio.Event] | Draining | None] = asyncio.Queue()
    places = asyncio.Semaphore(MAX_STREAMED)

    async def run(content: bytes) -> None:
        written = asyncio.Event()
        ready.put_nowait((await answer(content), written))
        await written.wait()

    def over(_: asyncio.Task[None]) -> None:
        gate.leave()
        places.release()

    async def take() -> None:
        kept_out: Draining | None = None
        async with asyncio.TaskGroup() as under_way:
            try:
                async for content in requests:
                    await places.acquire()
                    gate.enter()
                    under_way.create_task(run(content)).add_done_callback(over)
            except Draining as error:
                kept_out = error
        ready.put_nowait(kept_out)

    async with background(take()):
        while isinstance(one := await ready.get(), tuple):
            response, written = one
            yield response
            written.set()
    if one is not None:
        raise one
