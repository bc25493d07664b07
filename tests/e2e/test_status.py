"""What the planner tells of the running system, beside what its clients saw."""

import asyncio

import numpy as np
import pytest
from alpaserve.v1 import planner_pb2
from alpaserve_client import AlpaServeClientError, SloUnattainable

from tests.e2e.cluster import Cluster, group, model, slo
from tests.waiting import until

INPUTS = {"input_ids": np.arange(4, dtype=np.int64)}


def status_of(cluster: Cluster, name: str) -> planner_pb2.ModelStatus:
    return next(one for one in cluster.planning.status().models if one.name == name)


async def test_attainment_and_arrivals_are_what_clients_saw(cluster: Cluster) -> None:
    cluster.register(model("watched", service_level=slo(5)), model("tired", "slow"), model("unasked"))
    cluster.apply(group(2, 1, [0, 1], "watched", "unasked"), group(1, 1, [2], "tired"))
    async with cluster.client(0) as one, cluster.client(1) as other:
        for client in (one, other, one):
            await client.infer("watched", INPUTS)
        with pytest.raises(AlpaServeClientError):
            await one.infer("watched", INPUTS, slo_s=-1)
        with pytest.raises(SloUnattainable):
            await one.infer("tired", INPUTS, slo_s=1)
        await asyncio.gather(*(other.infer("tired", INPUTS) for _ in range(2)))
    await until(lambda: status_of(cluster, "tired").num_met == 2 and status_of(cluster, "tired").num_missed)
    found, tired, unasked = (status_of(cluster, name) for name in ("watched", "tired", "unasked"))
    assert (found.num_arrivals, found.num_met, found.num_missed, found.attainment) == (3, 3, 0, 1.0)
    assert (tired.num_arrivals, tired.num_met, tired.num_missed, tired.attainment) == (3, 2, 1, 2 / 3)
    assert found.rate_per_s == pytest.approx(3 / 60)
    assert (unasked.num_arrivals, unasked.HasField("attainment")) == (0, False)


async def test_stages_are_busy_for_as_long_as_they_ran(cluster: Cluster) -> None:
    def shares() -> list[list[float]]:
        return [list(one.stage_busy_share) for one in cluster.planning.status().groups]

    cluster.apply(group(2, 1, [4, 5], "quick"), group(1, 1, [6], "slow"))
    await until(lambda: all(shares()))
    assert shares() == [[0, 0], [0]]
    async with cluster.client() as client:
        await client.infer("slow", INPUTS)
    await until(lambda: shares()[1][0] > 0)
    assert shares()[0] == [0, 0]
    assert shares()[1][0] < 1


def test_routers_tell_the_placement_they_serve(cluster: Cluster) -> None:
    found = cluster.planning.status()
    assert [(one.name, one.placement_version) for one in found.routers] == [
        ("r0", found.placement_version),
        ("r1", found.placement_version),
    ]
