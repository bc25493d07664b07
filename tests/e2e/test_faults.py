"""What clients see when parts of the system fail, and how it comes back. The tests run in order."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from alpaserve.v1 import planner_pb2, worker_pb2, worker_pb2_grpc
from alpaserve_cli.processes import ServiceProcess
from alpaserve_client import (
    AlpaServeClientError,
    AsyncClient,
    ConnectionOptions,
    FailedPrecondition,
    InferResult,
    Unavailable,
)
from redis import Redis

from tests.e2e.cluster import Cluster, group, model, quick_profiles, running_cluster
from tests.e2e.killing import kill_leader, last_started, leader_pid, planner_asleep, state
from tests.waiting import until

PATIENT = ConnectionOptions(num_retries=60)
INPUTS = {"x": np.zeros(8, dtype=np.float32)}
WORKER: dict[str, Any] = {"executor": "emulated", "num_devices": 4, "memory_bytes": 16_000_000_000}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("faults"), 2, quick_profiles(), **WORKER) as running:
        running.register(model("quick"), model("slow", "slow"), model("once", "slow", idempotent=False))
        running.apply(group(2, 1, [0, 1], "quick"), group(1, 1, [2], "slow"), group(1, 1, [3], "once"))
        yield running


async def infer_after(client: AsyncClient, model_name: str, delay_s: float) -> InferResult | AlpaServeClientError:
    await asyncio.sleep(delay_s)
    try:
        return await client.infer(model_name, INPUTS, timeout_s=20)
    except AlpaServeClientError as error:
        return error


async def test_routers_go_on_serving_while_redis_is_away(cluster: Cluster) -> None:
    async with cluster.client(0) as first, cluster.client(1) as second:
        cluster.redis.kill()
        ends = await asyncio.gather(
            *(infer_after(client, "quick", 0.05 * number) for number in range(40) for client in (first, second))
        )
        with pytest.raises(Unavailable, match="the shared store cannot be reached"):
            cluster.placement()
        cluster.redis.start()
    assert {type(end) for end in ends} == {InferResult}


def test_placements_change_again_once_redis_is_back(cluster: Cluster) -> None:
    before = applied_in_time(cluster)
    assert [list(one.devices) for one in before.applied.placement.groups] == [[0, 1], [2], [3]]
    assert all(cluster.is_serving(process) for process in cluster.system.processes)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGSEGV])
async def test_a_leader_that_ends_by_a_signal_comes_back_before_the_planner_mends(
    cluster: Cluster, by: signal.Signals
) -> None:
    before, killed = state(cluster), leader_pid(cluster, "quick")
    os.kill(killed, by)
    await until(lambda: last_started(cluster, "quick") != killed, 20)
    await served_again(cluster)
    assert state(cluster) == before


async def test_a_leader_that_hangs_is_noticed_and_started_again_by_its_worker_alone(cluster: Cluster) -> None:
    before = state(cluster)
    async with cluster.client() as client:
        under_way = asyncio.gather(*(infer_after(client, name, 0) for name in ("slow", "once")))
        await asyncio.sleep(0.5)
        with planner_asleep(cluster):
            kill_leader(cluster, "quick", signal.SIGSTOP)
            ends = await under_way
            await served_again(cluster)
    assert [outcome(end) for end in ends] == ["Unavailable OUTCOME_UNKNOWN", "Aborted OUTCOME_UNKNOWN"]
    assert state(cluster) == before


async def test_while_a_worker_hangs_its_groups_serve_on_and_afterwards_nothing_has_changed(cluster: Cluster) -> None:
    before = state(cluster), leader_pid(cluster, "quick")
    os.kill(cluster.worker.pid, signal.SIGSTOP)
    try:
        await until(lambda: not cluster.planning.status().workers)
        async with cluster.client() as client:
            ends = [await infer_after(client, "quick", 0) for _ in range(5)]
        with pytest.raises(FailedPrecondition, match="no worker is alive"):
            cluster.apply(group(2, 1, [0, 1], "quick"))
    finally:
        os.kill(cluster.worker.pid, signal.SIGCONT)
    await until(lambda: cluster.planning.status().workers)
    assert {type(end) for end in ends} == {InferResult}
    assert (state(cluster), leader_pid(cluster, "quick")) == before


async def test_a_full_store_takes_no_change_and_requests_go_on(cluster: Cluster) -> None:
    with Redis.from_url(cluster.redis.url) as redis:
        redis.config_set("maxmemory", 1)
        with pytest.raises(Unavailable, match="the shared store cannot be reached, or refuses"):
            cluster.register(model("another"))
        async with cluster.client(0) as first, cluster.client(1) as second:
            ends = [await infer_after(client, "quick", 0.2) for _ in range(5) for client in (first, second)]
        redis.config_set("maxmemory", 0)
    cluster.register(model("another"))
    assert {type(end) for end in ends} == {InferResult}


async def test_a_router_without_redis_still_drains(cluster: Cluster) -> None:
    leaving = cluster.system.start("router", router_name="leaving")
    async with AsyncClient(leaving.address, ConnectionOptions(num_retries=0)) as client:
        taken = asyncio.create_task(client.infer("slow", INPUTS))
        await asyncio.sleep(0.2)
        cluster.redis.kill()
        leaving.child.terminate()
        result = await taken
        cluster.redis.start()
    assert result.group
    assert leaving.child.wait(10)
    assert leaving.stop() == 0


async def test_requests_of_a_killed_worker_end_with_a_definite_status(cluster: Cluster) -> None:
    async with cluster.client(0) as first, cluster.client(1) as second:
        clients = (first, second)
        repeatable = [infer_after(client, "slow", 0) for _ in range(5) for client in clients]
        unrepeatable = [infer_after(client, "once", 0) for _ in range(5) for client in clients]
        traffic = asyncio.gather(*repeatable, *unrepeatable)
        await asyncio.sleep(0.5)
        cluster.worker.kill()
        ends = await traffic
        afterwards = [await infer_after(client, "quick", 0) for client in clients]
    assert {outcome(end) for end in ends[:10]} - {"served"} == {"Unavailable OUTCOME_UNKNOWN"}
    assert {outcome(end) for end in ends[10:]} - {"served"} == {"Aborted OUTCOME_UNKNOWN"}
    assert [type(end) for end in afterwards] == [Unavailable, Unavailable]


async def test_a_worker_that_comes_back_is_given_its_groups_and_serves_again(cluster: Cluster) -> None:
    before = cluster.placement()
    cluster.system.start("worker", **WORKER)
    async with AsyncClient(cluster.routers[0].address, PATIENT) as client:
        result = await client.infer("quick", INPUTS, timeout_s=30)
    after = cluster.placement()
    assert result.placement_version == after.version > before.version
    assert [list(one.devices) for one in after.groups] == [list(one.devices) for one in before.groups]
    assert not {one.name for one in after.groups} & {one.name for one in before.groups}


def test_a_group_that_its_worker_lost_is_formed_again(cluster: Cluster) -> None:
    worker = running_worker(cluster)
    stub = worker_pb2_grpc.WorkerStub(cluster.channel(worker))
    before = cluster.placement()
    stub.DissolveGroup(worker_pb2.DissolveGroupRequest(group=before.groups[0].name), timeout=10)
    feed = cluster.planning.watch_placement(timeout_s=20)
    after = next(placement for placement in feed if placement.version > before.version)
    assert [list(one.devices) for one in after.groups] == [list(one.devices) for one in before.groups]
    assert after.groups[0].name != before.groups[0].name
    assert [one.name for one in after.groups[1:]] == [one.name for one in before.groups[1:]]


async def served_again(cluster: Cluster) -> None:
    """Every router reaches the new leader of all three groups."""
    for router in cluster.routers:
        async with AsyncClient(router.address, PATIENT) as client:
            await asyncio.gather(*(client.infer(name, INPUTS, timeout_s=30) for name in ("quick", "slow", "once")))


def outcome(end: InferResult | AlpaServeClientError) -> str:
    return "served" if isinstance(end, InferResult) else f"{type(end).__name__} {end.reason}"


def running_worker(cluster: Cluster) -> ServiceProcess:
    return [process for process in cluster.system.processes if process.service == "worker"][-1]


def applied_in_time(cluster: Cluster) -> planner_pb2.ApplyPlanResponse:
    """Apply the same groups once the worker has announced itself again."""
    give_up_at = time.monotonic() + 20
    while not cluster.planning.status().workers:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    return cluster.apply(group(2, 1, [0, 1], "quick"), group(1, 1, [2], "slow"), group(1, 1, [3], "once"))
