"""Requests through a whole running system."""

import asyncio
import time
from collections import Counter

import numpy as np
import pytest
from alpaserve.v1 import profiler_pb2
from alpaserve_client import (
    Aborted,
    AsyncClient,
    DeadlineExceeded,
    FailedPrecondition,
    InferResult,
    NotFound,
    SloUnattainable,
    Unavailable,
)
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.e2e.cluster import NO_RETRIES, PROFILES, Cluster, group, model

INPUTS = {"input_ids": np.arange(4, dtype=np.int64)}
SERVICES = ("Router", "Planner", "Worker", "Profiler")


@pytest.mark.parametrize("router", [0, 1])
async def test_every_router_serves_every_placed_model(cluster: Cluster, router: int) -> None:
    async with cluster.client(router) as client:
        result = await client.infer("quick", INPUTS, request_id=f"by-{router}")
    running = cluster.placement()
    assert result.request_id == f"by-{router}"
    assert result.group == running.groups[0].name
    assert result.placement_version == running.version
    np.testing.assert_array_equal(result.outputs["input_ids"], INPUTS["input_ids"])


async def test_a_model_of_an_imported_profile_takes_the_profiled_time(cluster: Cluster) -> None:
    imported = cluster.profiling().ImportProfile(
        profiler_pb2.ImportProfileRequest(profiles_json=PROFILES.read_bytes()), timeout=10
    )
    cluster.register(model("bert", "bert-1.3b"))
    cluster.apply(group(2, 1, [0, 1], "bert"))
    async with cluster.client() as client:
        result = await client.infer("bert", INPUTS)
    assert "bert-1.3b" in imported.names
    assert result.execution_time_s == pytest.approx((0.078541 + 0.068495) * 1.018, rel=0.5)
    assert result.predicted_finish_s == pytest.approx((0.078541 + 0.068495) * 1.018 + 0.011, rel=0.5)


async def test_the_runs_of_the_stages_tell_where_the_time_went(cluster: Cluster) -> None:
    async with cluster.client() as client:
        results = await asyncio.gather(*(client.infer("quick", INPUTS) for _ in range(8)))
    for result in results:
        entry, last = result.stages
        assert entry.begin_s + last.begin_s - entry.end_s == pytest.approx(result.queue_time_s)
        assert sum(run.end_s - run.begin_s for run in result.stages) == pytest.approx(result.execution_time_s)
        assert last.end_s <= result.group_time_s <= result.router_time_s
        assert [run.profiled_s for run in result.stages] == pytest.approx([0.01 * 1.018] * 2)
    assert max(result.stages[0].begin_s for result in results) > results[0].stages[0].profiled_s


async def test_a_registered_model_that_is_placed_nowhere_is_a_failed_precondition(cluster: Cluster) -> None:
    async with cluster.client() as client:
        with pytest.raises(FailedPrecondition, match="'idle'"):
            await client.infer("idle", INPUTS)


async def test_an_unknown_model_is_not_found(cluster: Cluster) -> None:
    async with cluster.client() as client:
        with pytest.raises(NotFound, match="'stranger'"):
            await client.infer("stranger", INPUTS)


async def test_an_slo_below_the_execution_time_is_unattainable_and_tells_both_figures(cluster: Cluster) -> None:
    async with cluster.client() as client:
        with pytest.raises(SloUnattainable) as refusal:
            await client.infer("slow", INPUTS, slo_s=1)
    assert refusal.value.allowed_s == pytest.approx(1, rel=0.01)
    assert refusal.value.predicted_s > refusal.value.allowed_s


async def test_a_burst_beyond_the_slo_of_the_model_is_rejected_in_part(cluster: Cluster) -> None:
    async with cluster.client() as client:
        ends = await asyncio.gather(*(client.infer("hasty", INPUTS) for _ in range(40)), return_exceptions=True)
    kinds = Counter(type(end) for end in ends)
    assert kinds[InferResult] >= 3
    assert kinds[SloUnattainable] >= 20
    assert set(kinds) <= {InferResult, SloUnattainable, DeadlineExceeded}


@pytest.mark.parametrize("service", SERVICES)
def test_every_process_reports_itself_and_its_service_as_healthy(shared_cluster: Cluster, service: str) -> None:
    process = shared_cluster.process(service)
    health = shared_cluster.health(process)
    answer = health.Check(health_pb2.HealthCheckRequest(service=f"alpaserve.v1.{service}"), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert shared_cluster.is_serving(process)


@pytest.mark.parametrize("service", SERVICES)
def test_reflection_lists_the_service_of_every_process(shared_cluster: Cluster, service: str) -> None:
    process = shared_cluster.process(service)
    stub = reflection_pb2_grpc.ServerReflectionStub(shared_cluster.channel(process))
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = stub.ServerReflectionInfo(requests, timeout=10)
    names = {one.name for one in answer.list_services_response.service}
    assert {f"alpaserve.v1.{service}", "grpc.health.v1.Health"} <= names


async def test_a_router_told_to_stop_finishes_what_it_took_and_refuses_the_rest(cluster: Cluster) -> None:
    leaving = cluster.system.start("router", router_name="leaving")
    watch = cluster.health(leaving).Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    async with AsyncClient(leaving.address, NO_RETRIES) as client:
        taken = asyncio.create_task(client.infer("slow", INPUTS))
        await asyncio.sleep(0.3)
        leaving.child.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(Unavailable, match="going away"):
            await client.infer("quick", INPUTS)
        result = await taken
    assert result.execution_time_s == pytest.approx(1.5, rel=0.2)
    assert leaving.child.wait(10)
    assert leaving.stop() == 0


def test_the_placement_feed_tells_every_change(cluster: Cluster) -> None:
    feed = cluster.planning.watch_placement(timeout_s=20)
    before = next(feed)
    cluster.apply(group(1, 1, [3], "quick"))
    after = next(feed)
    assert after.version > before.version
    assert [list(one.devices) for one in after.groups] == [[3]]


def test_a_rollback_runs_the_older_placement_as_a_new_version(cluster: Cluster) -> None:
    older = cluster.placement()
    newer = cluster.apply(group(1, 1, [3], "quick")).applied.placement
    restored = cluster.planning.rollback()
    placement = restored.placement
    assert placement.version > newer.version > older.version
    assert [list(one.devices) for one in placement.groups] == [list(one.devices) for one in older.groups]


def test_a_placement_made_for_an_older_version_is_aborted(cluster: Cluster) -> None:
    running = cluster.placement()
    with pytest.raises(Aborted, match=f"version {running.version} runs, not {running.version + 5}"):
        cluster.planning.apply(running, expected_version=running.version + 5)


def test_the_status_names_workers_groups_and_rates(cluster: Cluster) -> None:
    time.sleep(0.1)
    status = cluster.planning.status()
    assert [(worker.executor, worker.num_devices) for worker in status.workers] == [("emulated", 8)]
    assert [one.is_alive for one in status.groups] == [True, True]
