"""Transitions where memory is tight and loading takes time, under traffic. The tests run in order."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alpaserve.v1 import placement_pb2, planner_pb2
from alpaserve_client import (
    Aborted,
    AlpaServeClientError,
    AsyncClient,
    DeadlineExceeded,
    InferResult,
    PlannerClient,
    SloUnattainable,
    Unavailable,
)

from tests.e2e.cluster import Cluster, group, model, quick_profiles, running_cluster, slo

# Each device has room for one of the models, and loads it in half a second.
WORKER: dict[str, Any] = {
    "executor": "emulated",
    "num_devices": 2,
    "memory_bytes": 3_000_000_000,
    "load_bytes_per_s": 6_000_000_000,
}
LOAD_S = 0.5
RATE_PER_S = 40
ONE_WAY = (group(1, 1, [0], "quick"), group(1, 1, [1], "hasty"))
OTHER_WAY = (group(1, 1, [0], "hasty"), group(1, 1, [1], "quick"))
PAIR = (group(2, 1, [0, 1], "quick", "hasty"),)
End = InferResult | AlpaServeClientError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("transitions"), 1, quick_profiles(), **WORKER) as running:
        running.register(model("quick"), model("hasty", service_level=slo(0.2)))
        running.apply(*ONE_WAY)
        yield running


async def ask(client: AsyncClient, number: int) -> End:
    """Models and kinds of SLO take turns; one that has none waits for its model."""
    name, slo_s = ("quick", "hasty")[number % 2], (None, 0.3)[number // 2 % 2]
    try:
        return await client.infer(name, {}, request_id=str(number), slo_s=slo_s, timeout_s=20)
    except AlpaServeClientError as error:
        return error


async def under_traffic(cluster: Cluster, *placements: Sequence[placement_pb2.Group]) -> tuple[list[End], list[Any]]:
    """How every request ended that was sent while these were applied one after another."""
    applied: list[planner_pb2.ApplyPlanResponse] = []

    def apply_all() -> None:
        applied.extend(cluster.apply(*groups) for groups in placements)

    asked: list[asyncio.Task[End]] = []
    async with cluster.client(0) as client:
        applying = asyncio.create_task(asyncio.to_thread(apply_all))
        while not applying.done():
            asked.append(asyncio.create_task(ask(client, len(asked))))
            await asyncio.sleep(1 / RATE_PER_S)
        await applying
        return list(await asyncio.gather(*asked)), applied


async def test_models_that_change_places_without_room_are_down_as_long_as_was_said_before(cluster: Cluster) -> None:
    ends, (there, pair, back) = await under_traffic(cluster, OTHER_WAY, PAIR, ONE_WAY)

    failed = [end for end in ends if not isinstance(end, InferResult | SloUnattainable | DeadlineExceeded)]
    assert failed == []
    assert {end.placement_version for end in ends if isinstance(end, InferResult)} >= {
        there.applied.placement.version,
        pair.applied.placement.version,
    }
    for response in (there, pair, back):
        predicted, measured = response.diff.down, response.applied.down
        assert {down.model for down in measured} == {down.model for down in predicted} == set(response.diff.interrupted)
        assert all(down.end_s - down.begin_s >= LOAD_S / 2 for down in measured)
    assert len(there.diff.interrupted) >= 1
    assert there.diff.predicted_s > 2 * LOAD_S


async def test_a_request_without_an_slo_waits_for_a_model_that_is_down(cluster: Cluster) -> None:
    ends, (response,) = await under_traffic(cluster, OTHER_WAY)

    patient = [end for number, end in enumerate(ends) if number % 4 == 0]
    assert {type(end) for end in patient} == {InferResult}
    assert response.diff.interrupted


def test_of_two_placements_at_once_the_later_is_aborted(cluster: Cluster) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = {pool.submit(cluster.apply, *groups): groups for groups in (ONE_WAY, PAIR)}
    refused = [applying.exception() for applying in both if applying.exception()]
    (won,) = (groups for applying, groups in both.items() if not applying.exception())

    assert [type(error) for error in refused] == [Aborted]
    assert held(cluster.placement().groups) == held(won)


def test_a_planner_that_is_killed_half_way_is_followed_by_one_that_goes_back(cluster: Cluster) -> None:
    cluster.apply(*ONE_WAY)
    before = cluster.placement()
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(cluster.apply, *OTHER_WAY)
        feed = cluster.planning.watch_transition(timeout_s=20)
        half_way = next(look for look in feed if look is not None and look.placement_version > before.version)
        cluster.planner.kill()
        assert isinstance(applying.exception(), Unavailable)
    planner = cluster.system.start("planner", heal_every_s=0.2)
    with PlannerClient(planner.address) as client:
        back = next(look for look in client.watch_transition(timeout_s=20) if is_applied_after(look, half_way))
        after = client.placement().placement

    assert back is not None
    assert '"transition_cut_off"' in planner.log_path.read_text()
    assert after.version == back.placement_version
    assert held(after.groups) == held(before.groups) == held(ONE_WAY)


@pytest.mark.slow
def test_a_worker_that_is_killed_half_way_comes_back_to_what_ran_before(cluster: Cluster) -> None:
    """Runs last: the system is another one afterwards."""
    planner = next(process for process in reversed(cluster.system.processes) if process.service == "planner")
    with PlannerClient(planner.address) as client, ThreadPoolExecutor(1) as pool:
        before = client.placement().placement
        wanted = placement_pb2.Placement(groups=OTHER_WAY)
        applying = pool.submit(client.apply, wanted, timeout_s=60)
        feed = client.watch_transition(timeout_s=20)
        half_way = next(look for look in feed if look is not None and look.placement_version > before.version)
        cluster.worker.kill()
        assert isinstance(applying.exception(), Unavailable)
        cluster.system.start("worker", **WORKER)
        back = next(look for look in client.watch_transition(timeout_s=60) if is_applied_after(look, half_way))
        after = client.placement().placement

    assert back is not None
    assert held(after.groups) == held(before.groups)
    assert not {one.name for one in after.groups} & {one.name for one in before.groups}


def is_applied_after(look: planner_pb2.Transition | None, earlier: planner_pb2.Transition) -> bool:
    return look is not None and look.number > earlier.number and look.state == planner_pb2.TRANSITION_STATE_APPLIED


def held(groups: Iterable[placement_pb2.Group]) -> list[tuple[list[int], set[str]]]:
    """Devices and models of each group."""
    return [(list(one.devices), set(one.models)) for one in groups]
