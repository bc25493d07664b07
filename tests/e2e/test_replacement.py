"""Placements that change under traffic: no request is lost, and none is answered twice."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import numpy as np
from alpaserve.v1 import placement_pb2, planner_pb2, planner_pb2_grpc
from alpaserve_client import AsyncClient, DeadlineExceeded, InferResult, SloUnattainable
from grpc import aio

from tests.e2e.cluster import Cluster, group
from tests.waiting import until

RATE_PER_S = 80
INPUTS = {"x": np.zeros(8, dtype=np.float32)}
Ends = dict[str, list[InferResult | BaseException]]

PLACEMENTS = (
    (group(1, 1, [0], "quick", "hasty"), group(1, 1, [1], "quick")),
    (group(2, 1, [0, 1], "quick", "hasty"), group(1, 1, [2], "hasty")),
    (group(4, 1, [0, 1, 2, 3], "quick"), group(1, 1, [4], "hasty")),
    (group(1, 1, [4], "quick", "hasty"), group(2, 2, [0, 1, 2, 3], "hasty")),
    (group(1, 4, [4, 5, 6, 7], "quick", "hasty"),),
    (group(1, 1, [0], "hasty"), group(2, 1, [1, 2], "quick"), group(1, 1, [3], "quick", "hasty")),
    (group(1, 1, [0], "quick", "hasty"), group(1, 1, [1], "quick")),
)


async def open_loop(clients: Sequence[AsyncClient], ends: Ends, stopped: asyncio.Event) -> None:
    """Send requests at a steady rate until stopped, however late the answers are; notes every end by request id."""

    async def ask(number: int) -> None:
        client, model = clients[number % len(clients)], ("quick", "hasty")[number // 2 % 2]
        request_id = f"request-{number}"
        try:
            result = await client.infer(model, INPUTS, request_id=request_id, slo_s=1.0)
            ends.setdefault(result.request_id, []).append(result)
        except Exception as error:
            ends.setdefault(request_id, []).append(error)

    async with asyncio.TaskGroup() as tasks:
        for number in range(10**6):
            tasks.create_task(ask(number))
            await asyncio.sleep(1 / RATE_PER_S)
            if stopped.is_set():
                return


async def apply_in_turn(planner: str, placements: Sequence[Sequence[placement_pb2.Group]], pause_s: float) -> None:
    async with aio.insecure_channel(planner) as channel:
        stub = planner_pb2_grpc.PlannerStub(channel)
        for groups in placements:
            placement = placement_pb2.Placement(groups=groups)
            await stub.ApplyPlan(planner_pb2.ApplyPlanRequest(placement=placement), timeout=30)
            await asyncio.sleep(pause_s)


def served_by_version(ends: Ends) -> Counter[int]:
    return Counter(end.placement_version for own in ends.values() for end in own if isinstance(end, InferResult))


async def test_no_request_is_lost_while_group_shapes_change(shared_cluster: Cluster) -> None:
    await apply_in_turn(shared_cluster.planner.address, PLACEMENTS[:1], 0)
    ends: Ends = {}
    stopped = asyncio.Event()
    async with shared_cluster.client(0) as first, shared_cluster.client(1) as second:
        traffic = asyncio.create_task(open_loop((first, second), ends, stopped))
        await until(lambda: served_by_version(ends))
        await apply_in_turn(shared_cluster.planner.address, PLACEMENTS[1:], 0.3)
        await until(lambda: len(served_by_version(ends)) == len(PLACEMENTS))
        stopped.set()
        await traffic
    failed = [end for (end,) in ends.values() if not isinstance(end, InferResult | SloUnattainable | DeadlineExceeded)]
    versions = served_by_version(ends)
    assert failed == []
    assert sorted(ends) == sorted(f"request-{number}" for number in range(len(ends)))
    assert len(versions) == len(PLACEMENTS)
    assert versions.total() > 0.9 * len(ends)
