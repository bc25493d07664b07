"""What a worker makes of a planner's order to load a model."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from alpaserve.v1 import worker_pb2

from services.core.device import DeviceCosts, Link
from services.core.errors import InvalidArgument
from services.core.model import ModelSource, RegisteredModel
from services.core.placement import Group, Placement
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.infra.store.members import WorkerRecord
from services.planner.changes import Target
from services.planner.cluster import LiveCluster
from services.worker.leader.executor import Replica
from services.worker.servicer import WorkerServicer

CONFIG = ParallelConfig(2, 1)
LINK = Link(1e-6, 1e9)
COSTS = DeviceCosts(1e12, 1e11, 1e-6, LINK, LINK, LINK, LINK, LINK)
MODEL = RegisteredModel("m", "p", ModelSource(config="bert-1.3b", dtype="bfloat16"))


@dataclass
class Loads:
    """Notes the replicas that it is told to load."""

    replicas: list[Replica] = field(default_factory=list)

    async def load(self, group: str, replica: Replica) -> float:
        self.replicas.append(replica)
        return 1.0


def stage_profile(batch_size: int, *stage_latency_s: float, config: ParallelConfig = CONFIG) -> StageProfile:
    return StageProfile(config, batch_size, stage_latency_s, (30, 20), boundaries=(0, 3, 5))


PROFILES = Profiles(
    models={
        "p": ModelProfile(
            "p",
            (
                stage_profile(8, 0.8, 0.7),
                stage_profile(1, 0.2, 0.1),
                stage_profile(2, 0.3, 0.2),
                stage_profile(4, 0.5, 0.4),
                stage_profile(3, 9.0, 9.0, config=ParallelConfig(2, 2)),
            ),
        )
    },
    device=Device(costs=COSTS),
    request_overhead_s=0.01,
    stage_latency_factor_per_stage=0.25,
)


def order(max_batch_size: int, profiles: Profiles = PROFILES) -> worker_pb2.LoadModelRequest:
    """What the planner of a placement sends for `m` on the one group."""
    placement = Placement((Group(CONFIG, (0, 1), ("m",)),), max_batch_size=max_batch_size)
    cluster = LiveCluster([WorkerRecord("w", "w:1", "jax", 0, 2, 1000)])
    target = Target(placement, cluster, {"m": MODEL}, profiles, "given")
    running: Any = type("Running", (), {"name": "g1", "config": CONFIG})
    return target.load_request(running, "m")


async def loaded(request: worker_pb2.LoadModelRequest) -> Replica:
    groups: Any = Loads()
    context: Any = None
    await WorkerServicer(groups).LoadModel(request, context)
    (replica,) = groups.replicas
    assert isinstance(replica, Replica)
    return replica


@pytest.mark.parametrize(
    ("max_batch_size", "larger"),
    [
        (1, {}),
        (2, {2: (0.45, 0.3)}),
        (7, {2: (0.45, 0.3), 4: (0.75, 0.6)}),
        (99, {2: (0.45, 0.3), 4: (0.75, 0.6), 8: (1.2, 1.05)}),
    ],
)
async def test_a_replica_has_the_profiled_batch_sizes_that_its_placement_allows(
    max_batch_size: int, larger: dict[int, tuple[float, float]]
) -> None:
    replica = await loaded(order(max_batch_size))

    assert list(replica.larger_batches) == list(larger)
    for size, latency_s in larger.items():
        assert replica.larger_batches[size] == pytest.approx(latency_s)
    assert replica.stage_latency_s == pytest.approx((0.3, 0.15))


async def test_a_replica_is_cut_and_sharded_as_it_was_profiled() -> None:
    replica = await loaded(order(1))

    assert replica.model == MODEL
    assert replica.boundaries == (0, 3, 5)
    assert replica.device_costs == COSTS
    assert replica.stage_weight_bytes == (30, 20)
    assert replica.request_overhead_s == 0.01


async def test_without_costs_in_the_profile_the_worker_has_its_own() -> None:
    replica = await loaded(order(1, Profiles(PROFILES.models)))

    assert replica.device_costs is None


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([(2, [0.3])], "1 stage latencies of batch size 2"),
        ([(4, [0.3, 0.2]), (2, [0.3, 0.2])], r"\[1, 4, 2\]"),
        ([(1, [0.3, 0.2])], r"\[1, 1\]"),
    ],
)
async def test_batches_that_make_no_sense_are_refused(batches: list[tuple[int, list[float]]], says: str) -> None:
    request = order(1)
    for size, latency_s in batches:
        request.larger_batches.add(batch_size=size, stage_latency_s=latency_s)

    with pytest.raises(InvalidArgument, match=says):
        await loaded(request)
