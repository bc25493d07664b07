"""The record of decisions, and arrivals further back, against a real Redis."""

import asyncio

from redis.asyncio import Redis

from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.infra.background import background, repeating
from services.infra.store import keys
from services.infra.store.arrivals import SUM_S, ArrivalStore
from services.infra.store.decisions import MOST_KEPT, DecisionRecord, DecisionStore, MoveRecord, Outcome, Predicted


def decided(at_s: float) -> DecisionRecord:
    return DecisionRecord(
        at_s=at_s,
        controller="drift",
        mode="auto",
        verdict="switch",
        reason="rates differ",
        outcome=Outcome.APPLIED,
        base_version=3,
        observed_per_s={"a": 1.5},
        expected_per_s={},
        num_idle_looks=7,
        decision_s=0.5,
        predicted=Predicted(0.5, 0.75, 0.01, 0.002, 0.001),
        move=MoveRecord(("a",), ("b",), 1, 10, 0, 0),
        candidate=Placement((Group(ParallelConfig(1, 1), (4,), ("a",)),)),
        applied_version=4,
        predicted_s=0.1,
        transition_s=0.2,
    )


async def test_decisions_are_told_in_every_detail_the_newest_first(redis: Redis) -> None:
    store = DecisionStore(redis)
    assert await store.newest(5) == []
    for at_s in range(4):
        await store.add(decided(at_s))

    assert await store.newest(2) == [decided(3), decided(2)]
    assert await store.newest(0) == []


async def test_the_oldest_decisions_go(redis: Redis) -> None:
    store = DecisionStore(redis)
    for at_s in range(MOST_KEPT + 1):
        await store.add(decided(at_s))

    newest = await store.newest(MOST_KEPT + 1)

    assert [record.at_s for record in newest] == list(range(MOST_KEPT, 0, -1))


async def test_a_watcher_sees_the_last_decisions_and_every_further_one_once(redis: Redis) -> None:
    store = DecisionStore(redis)
    for at_s in range(3):
        await store.add(decided(at_s))
    seen: list[float] = []

    async def watch(limit: int, num_seen: int) -> None:
        async for record in store.watch(limit):
            seen.append(record.at_s)
            if record.at_s < 5:
                await store.add(decided(record.at_s + 3))
            if len(seen) == num_seen:
                return

    await asyncio.wait_for(watch(2, 5), 10)

    assert seen == [1, 2, 4, 5, 7]


async def test_a_watcher_of_none_sees_only_further_ones(redis: Redis) -> None:
    store = DecisionStore(redis)
    await store.add(decided(1))

    async def deciding() -> None:
        async for _ in repeating(0.01):
            await store.add(decided(2))

    async with background(deciding()), asyncio.timeout(10):
        seen = await anext(store.watch(0))

    assert seen == decided(2)


async def test_memory_is_what_was_last_remembered(redis: Redis) -> None:
    store = DecisionStore(redis)
    assert await store.memory() is None
    await store.remember(b"one")
    await store.remember(b"two")
    assert await store.memory() == b"two"


async def test_history_begins_where_anything_is_known_and_ends_with_the_last_full_bucket(redis: Redis) -> None:
    now_s, _ = await redis.time()
    end_s = now_s // SUM_S * SUM_S
    for begin_s, counts in (
        (end_s - 4 * SUM_S, {"a": 5}),
        (end_s - 2 * SUM_S, {"a": 6, "b": 7}),
        (end_s, {"a": 1_000}),
        (end_s + SUM_S, {"a": 1_000}),
    ):
        await redis.hset(keys.arrival_sums(begin_s), mapping={name: str(count) for name, count in counts.items()})

    history = await ArrivalStore(redis).history()

    assert {name: row.tolist() for name, row in history.items()} == {"a": [5, 0, 6, 0], "b": [0, 0, 7, 0]}


async def test_recorded_arrivals_are_summed_up_for_days(redis: Redis) -> None:
    store = ArrivalStore(redis)
    await store.record({"a": 2, "b": 1})
    await store.record({"a": 3})

    sums = [key async for key in redis.scan_iter(f"{keys.ARRIVAL_SUMS}*")]
    counts = [await redis.hgetall(key) for key in sums]

    assert sum(int(count.get(b"a", 0)) for count in counts) == 5
    assert all(int(key.decode().removeprefix(keys.ARRIVAL_SUMS)) % SUM_S == 0 for key in sums)
    assert all([await redis.ttl(key) > 86_400 for key in sums])
