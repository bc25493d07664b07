"""Deadlines and busy time of the last minutes, against a real Redis."""

import pytest
from redis.asyncio import Redis

from services.infra.store import keys
from services.infra.store.activity import KEPT_S, Activity, ActivityStore, Busyness, Deadlines


async def moved(redis: Redis, age_s: int) -> None:
    """Make what was just recorded so old."""
    now_s, _ = await redis.time()
    for second in (now_s - 1, now_s):
        if await redis.exists(keys.activity(second)):
            await redis.rename(keys.activity(second), keys.activity(now_s - age_s))


async def test_what_several_tell_is_added_up(redis: Redis) -> None:
    store = ActivityStore(redis)
    await store.record_deadlines({"m": Deadlines(3, 1), "a:b": Deadlines(0, 2)})
    await store.record_deadlines({"m": Deadlines(2, 0), "idle": Deadlines()})
    await moved(redis, 5)
    found = (await store.window(60)).deadlines
    assert found == {"m": Deadlines(5, 1), "a:b": Deadlines(0, 2)}
    assert found["m"].attainment == pytest.approx(5 / 6)
    assert found["a:b"].attainment == 0


async def test_a_stage_is_busy_for_a_share_of_the_time_that_was_looked_at(redis: Redis) -> None:
    store = ActivityStore(redis)
    await store.record_busyness({"g1": Busyness(1.0, (0.5, 0.0)), "g2": Busyness(0.5, (0.5,))})
    await store.record_busyness({"g1": Busyness(1.0, (1.0, 0.0))})
    await moved(redis, 5)
    found = (await store.window(60)).busyness
    assert {group: one.shares for group, one in found.items()} == {"g1": (0.75, 0.0), "g2": (1.0,)}


async def test_of_what_nobody_told_nothing_is_known(redis: Redis) -> None:
    store = ActivityStore(redis)
    await store.record_deadlines({"m": Deadlines()})
    assert await store.window(60) == Activity()
    assert Deadlines().attainment is None
    assert Busyness(0.0, (0.0,)).shares == ()


async def test_what_is_old_does_not_count_and_is_forgotten(redis: Redis) -> None:
    store = ActivityStore(redis)
    await store.record_deadlines({"m": Deadlines(1, 0)})
    now_s, _ = await redis.time()
    assert 0 < await redis.ttl(keys.activity(now_s)) <= KEPT_S
    await moved(redis, 61)
    assert await store.window(60) == Activity()
