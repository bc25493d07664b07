"""The loop that follows the traffic, over a real Redis: it tells what goes wrong, goes on, and ends when told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.core.deployment import DeployedGroup, Deployment
from services.core.model import RegisteredModel
from services.core.profile import ParallelConfig
from services.infra.background import background
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.connection import connect
from services.infra.store.decisions import DecisionRecord, DecisionStore, Outcome
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.placements import PlacementStore
from services.infra.store.registry import ModelStore, ProfileStore
from services.infra.store.transitions import TransitionStore
from services.planner.catalog import Catalog
from services.planner.cluster import WorkerStubs
from services.planner.pools import Pools
from services.planner.replacement import Replacement, SearchTime
from services.planner.replacement_facts import FactReader
from services.planner.settings import PlannerSettings
from services.planner.stewardship import Stewardship
from services.planner.transitions import Transitions
from services.planner.workers import Workers
from tests.waiting import until

WORKER = WorkerRecord("w", "127.0.0.1:1", "emulated", 0, 1, 100)
RUNNING = DeployedGroup("g1", ParallelConfig(1, 1), (0,), "w", "127.0.0.1:1", {"m": (0.1,)})


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A store in which a model runs and is asked for, whose profile is gone."""
    client = connect(redis_url)
    await client.flushdb()
    await ModelStore(client).put(RegisteredModel("m", "gone"))
    await PlacementStore(client).publish(Deployment(groups=(RUNNING,)))
    yield client
    await client.aclose()


@asynccontextmanager
async def asked_for(redis: Redis) -> AsyncIterator[None]:
    """The worker is alive and requests arrive, while the block runs."""

    async def keep_on() -> None:
        while True:
            await MemberStore(redis).announce_worker(WORKER)
            await ArrivalStore(redis).record({"m": 5})
            await asyncio.sleep(0.1)

    async with background(keep_on()):
        yield


def replacement(redis: Redis, mode: str) -> Replacement:
    settings = PlannerSettings.model_validate(
        {"redis_url": "redis://unused", "replace_mode": mode, "controller": "periodic", "replace_every_s": 1.0}
    )
    placements, members, records, arrivals = (
        PlacementStore(redis),
        MemberStore(redis),
        TransitionStore(redis),
        ArrivalStore(redis),
    )
    catalog = Catalog(ModelStore(redis), ProfileStore(redis), placements)
    transitions = Transitions(placements, members, Workers(WorkerStubs(settings), members, 1.0), records)
    stewardship = Stewardship(placements, members, catalog, transitions, records, arrivals)
    reader = FactReader(settings, placements, catalog, stewardship, arrivals)
    return Replacement(settings, reader, stewardship, DecisionStore(redis), Pools("", 0))


async def test_a_look_that_fails_is_told_and_the_next_one_comes(redis: Redis) -> None:
    loop, told = replacement(redis, "auto"), list[DecisionRecord]()

    async def watch() -> None:
        async for record in DecisionStore(redis).watch(0):
            told.append(record)

    async with asked_for(redis), background(loop.run(), watch()):
        await until(lambda: len(told) >= 2)
        loop.close()
        await loop.wait()

    assert {(record.verdict, record.outcome) for record in told} == {("failed", Outcome.FAILED)}
    assert all("gone" in record.error for record in told)
    assert told[1].num_idle_looks > 0
    assert (await PlacementStore(redis).current()).version == 1


async def test_a_loop_that_is_off_looks_at_nothing(redis: Redis) -> None:
    loop = replacement(redis, "off")

    async with asked_for(redis):
        await asyncio.wait_for(loop.run(), 10)

    assert (loop.num_idle_looks, await DecisionStore(redis).newest(1)) == (0, [])


async def test_a_worker_that_is_gone_is_no_reason_to_decide(redis: Redis) -> None:
    loop = replacement(redis, "auto")
    await ArrivalStore(redis).record({"m": 5})

    async with background(loop.run()):
        await until(lambda: loop.num_idle_looks >= 3)

    assert await DecisionStore(redis).newest(1) == []


def test_a_search_that_is_to_end_has_no_time_left() -> None:
    is_ended = False
    time = SearchTime(1_000.0, lambda: is_ended)
    before = time.share()
    is_ended = True

    assert before < 0.1
    assert time.share() == 1.0
