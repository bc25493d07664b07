"""What is put right between transitions, over a real Redis."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.asyncio import Redis

from services.core.deployment import DeployedGroup, Deployment
from services.core.model import RegisteredModel
from services.core.placement import Placement
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile
from services.infra.background import background
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.connection import connect
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.placements import PlacementStore
from services.infra.store.registry import ModelStore, ProfileStore
from services.infra.store.transitions import TransitionRecord, TransitionState, TransitionStore
from services.planner.catalog import Catalog
from services.planner.changes import Target
from services.planner.stewardship import Stewardship
from services.planner.transitions import Transitions
from tests.waiting import until

LONE = ParallelConfig(1, 1)
WORKER = WorkerRecord("w", "w:1", "emulated", 0, 2, 100)
PROFILES = Profiles({"p": ModelProfile("p", (StageProfile(LONE, 1, (0.1,), (10,)),), 0.1)})


def group(name: str, device: int, *models: str) -> DeployedGroup:
    return DeployedGroup(name, LONE, (device,), "w", "w:2", dict.fromkeys(models, (0.1,)))


@dataclass
class HoldingWorkers:
    """A worker with the group of the placement and another one, which names what it ends."""

    held: dict[str, DeployedGroup] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    async def running(self, worker: WorkerRecord) -> dict[str, DeployedGroup]:
        return dict(self.held)

    async def load(self, worker: WorkerRecord, group: DeployedGroup, model: str, target: Target) -> None:
        pass

    async def unload(self, worker: WorkerRecord, group: str, model: str) -> None:
        self.held[group] = DeployedGroup(group, LONE, self.held[group].devices, "w", "w:2", {"m": (0.1,)})
        self.ended.append(model)

    async def dissolve(self, worker: WorkerRecord, name: str) -> None:
        del self.held[name]
        self.ended.append(name)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A store in which a model runs, and whose last transition failed."""
    client = connect(redis_url)
    await client.flushdb()
    await ModelStore(client).put(RegisteredModel("m", "p"))
    await ProfileStore(client).put(PROFILES)
    await MemberStore(client).announce_worker(WORKER)
    await PlacementStore(client).publish(Deployment(groups=(group("g1", 0, "m"),)))
    failed = TransitionRecord(1, TransitionState.FAILED, 1, "", Placement(()), began_at_s=0.0, predicted_s=0.0)
    await TransitionStore(client).put(failed)
    yield client
    await client.aclose()


@pytest.mark.parametrize(
    ("held", "ended"),
    [
        ((group("g1", 0, "m"), group("g9", 1, "m")), ["g9"]),
        ((group("g1", 0, "m", "other"),), ["other"]),
    ],
)
async def test_what_a_failed_transition_left_on_workers_is_ended(
    redis: Redis, held: tuple[DeployedGroup, ...], ended: list[str]
) -> None:
    workers = HoldingWorkers({own.name: own for own in held})
    doubles: Any = workers
    placements, members, records = PlacementStore(redis), MemberStore(redis), TransitionStore(redis)
    catalog = Catalog(ModelStore(redis), ProfileStore(redis), placements)
    transitions = Transitions(placements, members, doubles, records)
    stewardship = Stewardship(placements, members, catalog, transitions, records, ArrivalStore(redis))

    async with background(stewardship.mend(0.01)):
        await until(lambda: workers.ended)
        await stewardship.wait()

    last = await records.last()
    assert workers.ended == ended
    assert set(workers.held) == {"g1"}
    assert last is not None
    assert (last.state, (await placements.current()).version) == (TransitionState.APPLIED, 2)
