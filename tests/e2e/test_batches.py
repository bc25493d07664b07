"""Batches through a whole running system: what a placement allows, the groups do."""

import asyncio
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from alpaserve.v1 import placement_pb2, profiler_pb2
from alpaserve_client import InferResult

from tests.e2e.cluster import Cluster, group, model


def profiles() -> dict[str, Any]:
    """A model whose first stage takes as long for four requests as for one and a half."""
    entries = [
        {
            "inter_op": 2,
            "intra_op": 1,
            "batch_size": size,
            "stage_latency_s": [latency_s, 0.02],
            "stage_weight_bytes": [1000] * 2,
        }
        for size, latency_s in ((1, 0.3), (2, 0.36), (4, 0.45))
    ]
    models = [{"model": "batched", "reference_latency_s": 0.32, "profiles": entries}]
    return {"schema": "alpaserve.profiles/v1", "stage_latency_factor_per_stage": 0.009, "models": models}


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    request = profiler_pb2.ImportProfileRequest(profiles_json=json.dumps(profiles()).encode())
    shared_cluster.profiling().ImportProfile(request, timeout=10)
    shared_cluster.register(model("batched", "batched"))
    return shared_cluster


def apply(cluster: Cluster, max_batch_size: int) -> placement_pb2.Placement:
    wanted = placement_pb2.Placement(groups=[group(2, 1, [0, 1], "batched")], max_batch_size=max_batch_size)
    return cluster.planning.apply(wanted, timeout_s=60).applied.placement


async def burst(cluster: Cluster, num_requests: int) -> list[InferResult]:
    """Requests with inputs of their own, all at once."""
    async with cluster.client() as client:
        asked = [client.infer("batched", {"n": np.array([number])}) for number in range(num_requests)]
        return await asyncio.gather(*asked)


async def test_a_group_batches_up_to_what_the_running_placement_allows(cluster: Cluster) -> None:
    sizes = {}
    for allowed in (1, 4, 2):
        applied = apply(cluster, allowed)
        results = await burst(cluster, 5)
        sizes[allowed] = Counter(result.batch_size for result in results)
        assert applied.max_batch_size == allowed
        assert cluster.placement().max_batch_size == allowed
        assert [result.outputs["n"].tolist() for result in results] == [[number] for number in range(5)]
    assert sizes == {1: {1: 5}, 4: {1: 1, 4: 4}, 2: {1: 1, 2: 4}}


async def test_a_rollback_brings_back_what_the_older_placement_allowed(cluster: Cluster) -> None:
    apply(cluster, 4)
    apply(cluster, 1)
    applied = cluster.planning.rollback().placement
    results = await burst(cluster, 5)
    assert applied.max_batch_size == 4
    assert Counter(result.batch_size for result in results) == {1: 1, 4: 4}
