"""A network between router and leader that is cut: every request ends, and runs twice only where it may."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from alpaserve.v1 import tensor_pb2

from benchmarks.relay import Relay
from services.core.deployment import Deployment
from services.core.errors import AlpaServeError, OutcomeUnknown
from services.router.call import Reply
from services.router.dispatcher import Dispatcher
from services.router.groups import Groups
from tests.router.calls import Leaders, call, content
from tests.router.scripted_leader import deployment, group, keep_silent, serve
from tests.waiting import until

FRONT = "127.0.0.3"
# More of these than one do not fit into what a connection takes before the other side reads.
LARGE = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_UINT8, shape=[2**19], data=bytes(2**19))


@dataclass
class Cuttable:
    """`g1` is behind the relay, `g2` is not; both hold every model."""

    relay: Relay
    leaders: Leaders
    dispatcher: Dispatcher

    async def infer(self, model: str, *, large: bool = False) -> Reply | AlpaServeError:
        asked = call(model)
        try:
            return await self.dispatcher.infer(replace(asked, content=content(model, {"x": LARGE})) if large else asked)
        except AlpaServeError as error:
            return error


def behind(relay_host: str, leaders: Leaders) -> Deployment:
    first, second = leaders
    address = f"{relay_host}:{first.address.rpartition(':')[2]}"
    return deployment(1, group("g1", address, "m", "once", "patient"), group("g2", second.address, "m", "once"))


@pytest.fixture
async def cuttable(leaders: Leaders, dispatcher: Dispatcher) -> AsyncIterator[Cuttable]:
    async with Relay(FRONT) as relay:
        await relay.open(int(leaders[0].address.rpartition(":")[2]))
        away = Dispatcher(Groups("r2", 2**20), lambda _: asyncio.sleep(0, False))
        await away.groups.follow(behind(FRONT, leaders))
        yield Cuttable(relay, leaders, away)
        await away.groups.close()


async def test_a_connection_that_is_reset_ends_what_it_carried_and_is_opened_again(cuttable: Cuttable) -> None:
    first = cuttable.leaders[0]
    first.answer = keep_silent
    asked = [asyncio.create_task(cuttable.infer(model)) for model in ("once", "patient")]
    await until(lambda: len(first.submitted) == 2)
    await cuttable.relay.reset()
    once, patient = await asyncio.gather(*asked)
    assert isinstance(once, OutcomeUnknown)
    assert isinstance(patient, OutcomeUnknown)
    assert (once.idempotent, patient.idempotent) == (False, True)
    first.answer = serve
    await cuttable.relay.heal()
    await until(lambda: not cuttable.dispatcher.groups.unreachable())
    assert isinstance(await cuttable.infer("patient"), Reply)


async def test_a_silent_network_is_noticed_and_what_it_never_took_runs_elsewhere(cuttable: Cuttable) -> None:
    first, second = cuttable.leaders
    first.answer = keep_silent
    small = asyncio.create_task(cuttable.infer("patient"))
    await until(lambda: first.submitted)
    cuttable.relay.swallow()
    large = [asyncio.create_task(cuttable.infer("once", large=True)) for _ in range(40)]
    ends = await asyncio.gather(*large)
    assert isinstance(await small, OutcomeUnknown)
    assert all(isinstance(end, Reply | OutcomeUnknown) for end in ends)
    elsewhere = [end for end in ends if isinstance(end, Reply)]
    assert [reply.group for reply in elsewhere] == ["g2"] * len(elsewhere)
    assert len(second.submitted) == len(elsewhere) > 0
