"""Placement versions, their feed and the lease, against a real Redis."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from alpaserve_cli.embedded_redis import EmbeddedRedis
from pydantic import TypeAdapter
from redis.asyncio import Redis

from services.core.deployment import DeployedGroup, DeployedModel, Deployment
from services.core.errors import InvalidPlacement, VersionConflict
from services.core.profile import ParallelConfig
from services.infra.background import background
from services.infra.store import keys
from services.infra.store.connection import connect
from services.infra.store.placements import PlacementStore
from tests.waiting import until

GROUP = DeployedGroup("g1", ParallelConfig(2, 1), (3, 4), "w", "127.0.0.1:1", {"m": (0.1, 0.2)})
FIRST = Deployment(
    groups=(GROUP,),
    models={"m": DeployedModel(0.5), "n": DeployedModel(idempotent=False)},
    request_overhead_s=0.01,
    dispatch="earliest-finish",
    policy="given",
    created_at_s=12.5,
    max_batch_size=8,
)


@pytest.fixture
def store(redis: Redis) -> PlacementStore:
    return PlacementStore(redis)


async def test_before_any_plan_the_placement_is_empty(store: PlacementStore) -> None:
    assert await store.current() == Deployment()


async def test_a_published_placement_is_the_current_one_in_every_detail(store: PlacementStore) -> None:
    published = await store.publish(FIRST)
    assert published == replace(FIRST, version=1)
    assert await store.current() == published


async def test_a_placement_made_for_an_older_version_changes_nothing(store: PlacementStore) -> None:
    first = await store.publish(FIRST)
    second = await store.publish(replace(first, policy="second"))
    with pytest.raises(VersionConflict, match="version 1"):
        await store.publish(replace(first, policy="late"))
    assert await store.current() == second


async def test_of_two_that_publish_at_once_one_wins(store: PlacementStore) -> None:
    ends = await asyncio.gather(*(store.publish(FIRST) for _ in range(2)), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Deployment", "VersionConflict"]


async def test_history_keeps_every_version(store: PlacementStore) -> None:
    first = await store.publish(FIRST)
    await store.publish(replace(first, groups=()))
    assert await store.at(1) == first
    with pytest.raises(InvalidPlacement, match="version 3"):
        await store.at(3)


async def test_the_settled_version_before_skips_what_a_transition_left_half_way(store: PlacementStore) -> None:
    first = await store.publish(FIRST)
    half_way = await store.publish(replace(first, is_settled=False))
    assert await store.settled_before(half_way.version + 1) == first
    with pytest.raises(InvalidPlacement):
        await store.settled_before(first.version)


async def test_a_watcher_sees_the_current_version_and_every_change(store: PlacementStore) -> None:
    seen: list[int] = []

    async def watch() -> None:
        async for deployment in store.watch():
            seen.append(deployment.version)

    async with background(watch()):
        await until(lambda: seen == [0])
        first = await store.publish(FIRST)
        await until(lambda: seen == [0, 1])
        await store.publish(first)
        await until(lambda: seen == [0, 1, 2])


async def test_a_watcher_outlives_a_restart_of_redis(tmp_path: Path) -> None:
    seen: list[int] = []
    with EmbeddedRedis(tmp_path / "redis") as server:
        client = connect(server.url)
        store = PlacementStore(client)

        async def watch() -> None:
            async for deployment in store.watch(poll_s=0.05):
                seen.append(deployment.version)

        async with background(watch()):
            first = await store.publish(FIRST)
            await until(lambda: seen and seen[-1] == 1)
            server.stop()
            await asyncio.sleep(1)
            server.start()
            await store.publish(first)
            await until(lambda: seen[-1] == 2)
        await client.aclose()


async def test_a_change_that_no_message_told_is_found_all_the_same(store: PlacementStore, redis: Redis) -> None:
    seen: list[int] = []

    async def watch() -> None:
        async for deployment in store.watch(poll_s=0.05):
            seen.append(deployment.version)

    async with background(watch()):
        first = await store.publish(FIRST)
        await until(lambda: seen and seen[-1] == 1)
        unannounced = replace(first, version=2)
        await redis.set(keys.CURRENT_DEPLOYMENT, TypeAdapter(Deployment).dump_json(unannounced))
        await until(lambda: seen[-1] == 2)


async def test_group_names_are_never_given_twice(store: PlacementStore) -> None:
    names = await asyncio.gather(*(store.new_group_name() for _ in range(20)))
    assert len(set(names)) == 20


async def test_one_holds_the_lease_at_a_time(store: PlacementStore, redis: Redis) -> None:
    other = PlacementStore(redis)
    async with store.lease():
        assert await other.is_leased()
        with pytest.raises(VersionConflict, match="another transition"):
            async with other.lease():
                pass
    assert not await other.is_leased()
    async with other.lease():
        assert await store.is_leased()


async def test_a_failure_gives_the_lease_back(store: PlacementStore) -> None:
    with pytest.raises(KeyError, match="why"):
        async with store.lease():
            raise KeyError("why")
    assert not await store.is_leased()


async def test_a_lease_runs_out_with_its_holder(store: PlacementStore, redis: Redis) -> None:
    async with store.lease():
        assert 0 < await redis.pttl(keys.TRANSITION_LEASE) <= 10_000


async def test_losing_the_lease_ends_what_it_guards(store: PlacementStore, redis: Redis) -> None:
    async def transition() -> None:
        async with asyncio.timeout(10), store.lease():
            await redis.set(keys.TRANSITION_LEASE, "somebody else")
            await asyncio.Event().wait()

    with pytest.raises(VersionConflict, match="lost"):
        await transition()
    assert await redis.get(keys.TRANSITION_LEASE) == b"somebody else"
