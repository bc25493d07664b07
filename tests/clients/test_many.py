"""Many requests over one connection of the SDK: how many are under way, what comes back, and in which order."""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
import numpy as np
import pytest
from alpaserve.v1 import router_pb2
from alpaserve_client import AsyncClient, Client, InferOutcome, InferRequest, InvalidArgument, NotFound
from alpaserve_client.many import Flow
from google.rpc import code_pb2

from tests.clients.scripted_router import ScriptedRouter, failure, serving
from tests.waiting import until

Ask = Callable[..., list[InferOutcome]]


def numbered(num: int, model: str = "m0") -> Iterator[InferRequest]:
    return (InferRequest(model, {"n": np.array([n])}, request_id=f"r{n}") for n in range(num))


def told(outcomes: Iterable[InferOutcome]) -> list[int]:
    return [int(outcome.result.outputs["n"][0]) for outcome in outcomes]


def ask(address: str, requests: Iterable[InferRequest], **flow: Any) -> list[InferOutcome]:
    with Client(address) as client:
        return list(client.infer_many(requests, **flow))


def ask_async(address: str, requests: Iterable[InferRequest], **flow: Any) -> list[InferOutcome]:
    async def asked() -> list[InferOutcome]:
        async with AsyncClient(address) as client:
            return [outcome async for outcome in client.infer_many(requests, **flow)]

    return asyncio.run(asked())


both = pytest.mark.parametrize("ask", [ask, ask_async])


@dataclass
class HoldingRouter(ScriptedRouter):
    """Answers the first request when all others have been answered."""

    num_requests: int = 0
    others: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def Infer(self, request: router_pb2.InferRequest, context: grpc.ServicerContext) -> router_pb2.InferResponse:
        if request.request_id == "r0":
            for _ in range(self.num_requests - 1):
                self.others.acquire(timeout=20)
        else:
            self.others.release()
        return super().Infer(request, context)


@both
def test_every_request_has_its_outcome(ask: Ask) -> None:
    with serving(ScriptedRouter()) as address:
        outcomes = ask(address, numbered(300), max_in_flight=16)

    assert sorted(told(outcomes)) == list(range(300))
    assert all(outcome.request.request_id == f"r{outcome.index}" for outcome in outcomes)


@both
def test_outcomes_come_as_requests_end(ask: Ask) -> None:
    with serving(HoldingRouter(num_requests=5)) as address:
        outcomes = ask(address, numbered(5), max_in_flight=5)

    assert told(outcomes).index(0) > 0


@both
def test_in_order_outcomes_come_as_the_requests_did(ask: Ask) -> None:
    with serving(HoldingRouter(num_requests=5)) as address:
        outcomes = ask(address, numbered(5), max_in_flight=5, in_order=True)

    assert told(outcomes) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("in_order", [False, True])
def test_nothing_is_kept_of_what_was_taken(in_order: bool) -> None:
    alive = weakref.WeakSet[NotFound]()

    def refuse(_: InferRequest) -> NotFound:
        answer = NotFound("no such model")
        alive.add(answer)
        return answer

    outcomes = Flow(2, in_order).in_threads(refuse, numbered(40))
    for _ in range(30):
        next(outcomes)

    # Two under way, and the last one told.
    assert len(alive) <= 4
    outcomes.close()


@both
def test_one_that_fails_or_cannot_be_sent_stops_no_other(ask: Ask) -> None:
    unsendable = InferRequest("m0", {"n": np.array(["text", None])})
    wanted = [*numbered(1), *numbered(1, "stranger"), unsendable, *numbered(1)]
    with serving(ScriptedRouter(failures={"stranger": failure(code_pb2.NOT_FOUND, "no such model")})) as address:
        fine, unknown, refused, last = ask(address, wanted, in_order=True)

    assert told([fine, last]) == [0, 0]
    assert isinstance(unknown.answer, NotFound)
    assert isinstance(refused.answer, InvalidArgument)
    assert refused.answer.code is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(NotFound, match="no such model"):
        _ = unknown.result


@both
def test_none_under_way_at_a_time_is_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="max_in_flight"):
        ask("127.0.0.1:1", numbered(1), max_in_flight=0)


@pytest.mark.parametrize("in_order", [False, True])
def test_requests_are_read_only_when_there_is_room(in_order: bool) -> None:
    endless = (InferRequest("m0", {}, request_id=f"r{n}") for n in count())
    with serving(router := ScriptedRouter()) as address, Client(address) as client:
        outcomes = client.infer_many(endless, max_in_flight=4, in_order=in_order)
        for _ in range(10):
            next(outcomes)

        assert len(router.requests) <= 14


@pytest.mark.parametrize("in_order", [False, True])
async def test_the_asyncio_client_reads_requests_as_they_come_and_no_more_than_it_may(in_order: bool) -> None:
    read = 0

    async def endless() -> AsyncIterator[InferRequest]:
        nonlocal read
        while True:
            read += 1
            yield InferRequest("m0", {})

    with serving(ScriptedRouter()) as address:
        async with AsyncClient(address) as client:
            outcomes = client.infer_many(endless(), max_in_flight=4, in_order=in_order)
            for _ in range(10):
                await anext(outcomes)
            assert read <= 14
            await outcomes.aclose()


async def test_an_outcome_does_not_wait_for_the_next_request_to_come() -> None:
    never = asyncio.Event()

    async def one() -> AsyncIterator[InferRequest]:
        yield InferRequest("m0", {}, request_id="only")
        await never.wait()

    with serving(ScriptedRouter()) as address:
        async with AsyncClient(address) as client:
            outcome = await asyncio.wait_for(anext(client.infer_many(one())), 10)

    assert outcome.result.request_id == "only"


async def test_closing_the_iterator_cancels_what_is_under_way() -> None:
    with serving(router := ScriptedRouter(delay_s=0.5)) as address:
        async with AsyncClient(address) as client:
            outcomes = client.infer_many(numbered(8), max_in_flight=8)
            waiting = asyncio.ensure_future(anext(outcomes))
            await until(lambda: len(router.requests) == 8)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

            assert len(asyncio.all_tasks()) == 1


async def test_an_error_of_the_source_comes_out_after_what_it_gave() -> None:
    async def broken() -> AsyncIterator[InferRequest]:
        yield InferRequest("m0", {}, request_id="given")
        raise LookupError("no more")

    with serving(ScriptedRouter()) as address:
        async with AsyncClient(address) as client:
            outcomes = client.infer_many(broken())
            given = await anext(outcomes)
            with pytest.raises(LookupError, match="no more"):
                await anext(outcomes)

    assert given.result.request_id == "given"
