"""Many requests over one connection, so many under way at most: of what waits nothing is read, of what ended nothing
is kept."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue

from numpy.typing import ArrayLike

from alpaserve_client.errors import AlpaServeClientError
from alpaserve_client.inference import InferResult


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What `infer` takes: a model and one example, the allowed latency, a name for the request, and a timeout."""

    model: str
    inputs: Mapping[str, ArrayLike]
    slo_s: float | None = None
    request_id: str = ""
    timeout_s: float | None = None


Answer = InferResult | AlpaServeClientError


@dataclass(frozen=True, slots=True)
class InferOutcome:
    """How one of many requests ended; `index` counts them from 0."""

    index: int
    request: InferRequest
    answer: Answer

    @property
    def result(self) -> InferResult:
        """Raises: the AlpaServeClientError that it ended with."""
        if isinstance(self.answer, AlpaServeClientError):
            raise self.answer
        return self.answer


@dataclass(frozen=True, slots=True)
class Flow:
    """How many requests may be under way, those included whose outcome nobody has taken yet, and whether outcomes come
    as the requests did rather than as they end."""

    max_in_flight: int
    in_order: bool

    def __post_init__(self) -> None:
        if self.max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {self.max_in_flight}")

    def in_threads(
        self, ask: Callable[[InferRequest], Answer], requests: Iterable[InferRequest]
    ) -> Generator[InferOutcome, None, None]:
        """Ask from a thread for each request under way; the caller's thread reads the requests."""
        source, ended = enumerate(requests), SimpleQueue[Future[Answer]]()
        under_way: dict[Future[Answer], tuple[int, InferRequest]] = {}
        pool = ThreadPoolExecutor(self.max_in_flight, "infer")
        try:
            while True:
                for index, request in islice(source, self.max_in_flight - len(under_way)):
                    future = pool.submit(copy_context().run, ask, request)
                    under_way[future] = index, request
                    if not self.in_order:
                        future.add_done_callback(ended.put)
                if not under_way:
                    return
                next_one = next(iter(under_way)) if self.in_order else ended.get()
                answer = next_one.result()
                yield InferOutcome(*under_way.pop(next_one), answer)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def in_tasks(
        self,
        ask: Callable[[InferRequest], Awaitable[Answer]],
        requests: Iterable[InferRequest] | AsyncIterable[InferRequest],
    ) -> AsyncGenerator[InferOutcome, None]:
        """Ask from a task for each request under way, while another one reads the requests."""
        return _Tasks(self, ask).outcomes(requests)


class _Tasks:
    """Requests under way, and a queue of those that are to be told next, which ends with None."""

    def __init__(self, flow: Flow, ask: Callable[[InferRequest], Awaitable[Answer]]) -> None:
        self._in_order = flow.in_order
        self._ask = ask
        self._room = asyncio.Semaphore(flow.max_in_flight)
        self._under_way: set[asyncio.Task[InferOutcome]] = set()
        self._next: asyncio.Queue[asyncio.Task[InferOutcome] | None] = asyncio.Queue()

    async def outcomes(
        self, requests: Iterable[InferRequest] | AsyncIterable[InferRequest]
    ) -> AsyncGenerator[InferOutcome, None]:
        reading = asyncio.create_task(self._read(requests))
        try:
            is_read = False
            while self._under_way or not is_read:
                task = await self._next.get()
                if task is None:
                    is_read = True
                else:
                    yield await task
                    self._under_way.discard(task)
                    self._room.release()
            await reading
        finally:
            left = (reading, *self._under_way)
            for task_left in left:
                task_left.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _read(self, requests: Iterable[InferRequest] | AsyncIterable[InferRequest]) -> None:
        index = 0
        try:
            await self._room.acquire()
            async for request in _each(requests):
                task = asyncio.create_task(self._outcome(index, request))
                self._under_way.add(task)
                if self._in_order:
                    self._next.put_nowait(task)
                else:
                    task.add_done_callback(self._next.put_nowait)
                index += 1
                await self._room.acquire()
        finally:
            self._next.put_nowait(None)

    async def _outcome(self, index: int, request: InferRequest) -> InferOutcome:
        return InferOutcome(index, request, await self._ask(request))


async def _each(requests: Iterable[InferRequest] | AsyncIterable[InferRequest]) -> AsyncIterator[InferRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
        return
    for request in requests:
        yield request
