"""Measurements are kept as they are made, for a day, apart from those of other orders."""

from redis.asyncio import Redis

from services.core.device import DeviceCosts, Link
from services.core.profile import ParallelConfig, StageProfile
from services.infra.store import keys
from services.infra.store.measurements import EXPIRY_S, MeasurementStore

LINK = Link(1e-5, 1e9)
COSTS = DeviceCosts(1e12, 1e10, 1e-6, LINK, LINK, LINK, LINK, LINK)
STAGE = StageProfile(ParallelConfig(2, 1), 4, (0.1, 0.2), (10, 20), (1, 2), "measured", "a note", (0, 1, 3))


async def test_measurements_are_kept_in_every_detail(redis: Redis) -> None:
    store = MeasurementStore(redis)
    assert (await store.costs("x"), await store.all("x")) == (None, {})
    await store.put_costs("x", COSTS)
    await store.put("x", STAGE)
    assert await store.costs("x") == COSTS
    assert await store.all("x") == {(STAGE.config, 4): STAGE}
    assert await store.all("y") == {}
    assert EXPIRY_S - 10 < await redis.ttl(keys.measurements("x")) <= EXPIRY_S


async def test_what_is_forgotten_is_measured_again(redis: Redis) -> None:
    store = MeasurementStore(redis)
    await store.put_costs("x", COSTS)
    await store.put("x", STAGE)
    await store.forget("x")
    assert (await store.costs("x"), await store.all("x")) == (None, {})
