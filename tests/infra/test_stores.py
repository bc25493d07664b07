"""Models, profiles, members, arrivals and queues, against a real Redis."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from alpaserve.v1 import leader_pb2
from alpaserve_cli.embedded_redis import EmbeddedRedis
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from services.core.errors import AlreadyExists, InvalidProfile, UnknownModel, UnknownProfile
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.infra.background import background
from services.infra.store import keys
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.connection import connect, reached
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.queues import QueueStore
from services.infra.store.registry import ModelStore, ProfileStore
from tests.waiting import until

MODEL = RegisteredModel("m", "bert", ModelSource(config="{}", seed=3, sequence_length=16), slo_s=0.5, idempotent=False)
WORKER = WorkerRecord("w", "host:1", "emulated", 0, 4, 100)


def profiles(name: str, latency_s: float, overhead_s: float = 0.0, factor: float = 0.0) -> Profiles:
    stage = StageProfile(ParallelConfig(1, 1), 1, (latency_s,), (10,), (5,), "imported", "a note")
    return Profiles({name: ModelProfile(name, (stage,), 0.25)}, Device("V100", 100, 8), overhead_s, factor)


async def test_a_registered_model_is_kept_in_every_detail(redis: Redis) -> None:
    store = ModelStore(redis)
    await store.put(MODEL)
    assert await store.get("m") == MODEL
    assert await store.all() == {"m": MODEL}
    assert await store.is_registered("m")
    assert not await store.is_registered("n")


async def test_registering_again_changes_the_slo_but_never_the_source(redis: Redis) -> None:
    store = ModelStore(redis)
    await store.put(MODEL)
    await store.put(replace(MODEL, slo_s=None, slo_scale=5.0))
    with pytest.raises(AlreadyExists, match="'m'"):
        await store.put(replace(MODEL, source=None))
    assert (await store.get("m")).slo_scale == 5.0


async def test_models_are_listed_by_name(redis: Redis) -> None:
    store = ModelStore(redis)
    for name in ("c", "a", "b"):
        await store.put(replace(MODEL, name=name))
    assert list(await store.all()) == ["a", "b", "c"]


async def test_an_unknown_model_is_named(redis: Redis) -> None:
    store = ModelStore(redis)
    with pytest.raises(UnknownModel, match="'m'"):
        await store.get("m")
    with pytest.raises(UnknownModel, match="'m'"):
        await store.remove("m")
    await store.put(MODEL)
    await store.remove("m")
    assert await store.all() == {}


async def test_a_profile_is_kept_in_every_detail(redis: Redis) -> None:
    store = ProfileStore(redis)
    given = profiles("a", 0.1, 0.01, 0.009)
    await store.put(given)
    assert await store.get("a") == given
    assert await store.names() == ["a"]
    with pytest.raises(UnknownProfile, match="'b'"):
        await store.get("b")


async def test_combined_profiles_keep_their_own_overheads_under_the_largest(redis: Redis) -> None:
    store = ProfileStore(redis)
    await store.put(profiles("a", 0.1, overhead_s=0.01))
    await store.put(profiles("b", 0.2, overhead_s=0.03))
    await store.put(profiles("c", 0.3, overhead_s=0.05))
    combined = await store.combined({"a", "b"})
    assert sorted(combined) == ["a", "b"]
    assert combined.request_overhead_s == 0.03
    assert (combined.overhead_s("a"), combined.overhead_s("b")) == (0.01, 0.03)
    assert combined.stage_latency_s("b", ParallelConfig(1, 1)) == (0.2,)


async def test_profiles_of_different_latency_factors_are_not_combined(redis: Redis) -> None:
    store = ProfileStore(redis)
    await store.put(profiles("a", 0.1, factor=0.009))
    await store.put(profiles("b", 0.2))
    with pytest.raises(InvalidProfile, match="a, b"):
        await store.combined({"a", "b"})


async def test_device_ids_are_given_once_per_worker(redis: Redis) -> None:
    store = MemberStore(redis)
    bases = [await store.assign_devices(name, size) for name, size in (("w0", 4), ("w1", 8), ("w0", 4), ("w2", 1))]
    assert bases == [0, 4, 0, 12]


async def test_workers_that_start_at_once_share_no_device(redis: Redis) -> None:
    store = MemberStore(redis)
    bases = await asyncio.gather(*(store.assign_devices(f"w{number}", 4) for number in range(10)))
    assert sorted(bases) == list(range(0, 40, 4))


async def test_workers_are_known_while_they_announce_themselves(redis: Redis) -> None:
    store = MemberStore(redis)
    later = replace(WORKER, name="a", first_device=4)
    await store.announce_worker(later)
    await store.announce_worker(WORKER)
    assert await store.workers() == [WORKER, later]
    assert 0 < await redis.pttl(keys.worker("w")) <= 3_000
    await store.withdraw_worker("w")
    assert await store.workers() == [later]
    assert list(WORKER.devices) == [0, 1, 2, 3]


async def test_routers_tell_the_version_they_serve(redis: Redis) -> None:
    store = MemberStore(redis)
    await store.announce_router("r1", 7)
    await store.announce_router("r2", 8)
    await store.withdraw_router("r1")
    assert await store.router_versions() == {"r2": 8}


async def test_withdrawing_without_redis_is_no_failure() -> None:
    store = MemberStore(connect("redis://127.0.0.1:1/0"))
    await store.withdraw_router("r1")
    await store.withdraw_worker("w")


async def test_arrivals_are_counted_by_full_seconds_oldest_first(redis: Redis) -> None:
    store = ArrivalStore(redis)
    now_s, _ = await redis.time()
    for age_s, counts in ((10, {"a": 2}), (12, {"a": 5, "b": 1}), (40, {"a": 100}), (-5, {"a": 1000})):
        await redis.hset(keys.arrivals(now_s - age_s), mapping={name: str(count) for name, count in counts.items()})
    window = await store.window(20)
    assert {name: counts.shape for name, counts in window.items()} == {"a": (20,), "b": (20,)}
    assert window["a"][window["a"] > 0].tolist() == [5, 2]
    assert window["a"].argmax() == window["b"].argmax() == window["a"].nonzero()[0][1] - 2


async def test_recorded_arrivals_add_up_and_expire(redis: Redis) -> None:
    store = ArrivalStore(redis)
    await store.record({"a": 2, "b": 1})
    await store.record({"a": 3})
    await store.record({})
    buckets = [key async for key in redis.scan_iter(f"{keys.ARRIVALS}*")]
    counts = [await redis.hgetall(bucket) for bucket in buckets]
    assert sum(int(count.get(b"a", 0)) for count in counts) == 5
    assert [await redis.ttl(bucket) for bucket in buckets] == [pytest.approx(3600, abs=2)] * len(buckets)


async def test_a_window_without_arrivals_is_empty(redis: Redis) -> None:
    assert await ArrivalStore(redis).window(60) == {}


async def test_queue_states_are_kept_until_their_leader_is_silent(redis: Redis) -> None:
    store = QueueStore(redis)
    state = leader_pb2.QueueState(group="g1", free_in_s=[0.5, 1.5], num_in_flight=3, received={"r1": 9})
    await store.publish([state, leader_pb2.QueueState(group="g2")])
    assert await store.get(["g1", "g3"]) == {"g1": state}
    assert await store.get([]) == {}
    assert 0 < await redis.pttl(keys.queue_state("g1")) <= 3_000


async def test_queue_states_are_told_as_they_are_published_also_after_a_restart_of_redis(tmp_path: Path) -> None:
    seen: list[str] = []
    with EmbeddedRedis(tmp_path / "redis") as server:
        client = connect(server.url)
        store = QueueStore(client)

        async def watch() -> None:
            async for state in store.watch():
                seen.append(state.group)

        async def publish(group: str) -> None:
            """Until it is seen: whoever subscribes late misses what was published before."""
            while group not in seen:
                await store.publish([leader_pb2.QueueState(group=group)])
                await asyncio.sleep(0.02)

        async with background(watch()):
            await asyncio.wait_for(publish("before"), 10)
            server.stop()
            await asyncio.sleep(1)
            server.start()
            await asyncio.wait_for(publish("after"), 10)
            await until(lambda: seen[-1] == "after")
        await client.aclose()


async def test_a_service_that_starts_while_redis_is_away_waits_for_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        server.kill()
        async with connect(server.url) as client:
            waiting = asyncio.create_task(reached(client))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            server.start()
            await asyncio.wait_for(waiting, 10)


async def test_a_service_does_not_wait_forever_for_redis(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        stranger = url.replace(url.partition("@")[0], "redis://:wrong")
        async with connect(stranger) as client:
            with pytest.raises(AuthenticationError):
                await reached(client)
    async with connect(url) as client:
        with pytest.raises(RedisConnectionError):
            await reached(client, within_s=0.0)
