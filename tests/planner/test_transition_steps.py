"""The steps of a transition on workers that note what they are told, and may fail."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from services.core.deployment import DeployedGroup, Deployment
from services.core.errors import GroupUnavailable
from services.core.model import RegisteredModel
from services.core.placement import Group, Placement
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile
from services.infra.store.members import WorkerRecord
from services.planner.changes import Target
from services.planner.cluster import LiveCluster
from services.planner.transitions import Steps

LONE = ParallelConfig(1, 1)
WORKER = WorkerRecord("w", "w:1", "emulated", 0, 2, 100)
MODELS = {name: RegisteredModel(name, "p") for name in "abc"}
RUNNING = Deployment(1, (DeployedGroup("g0", LONE, (0,), "w", "w:2", {"a": (0.1,), "c": (0.1,)}),), is_settled=True)


def profiles(latency_s: float = 0.1) -> Profiles:
    """A model whose batches of four take twice as long as a request."""
    stages = tuple(StageProfile(LONE, size, (latency_s * size**0.5,), (10,)) for size in (1, 4))
    return Profiles({"p": ModelProfile("p", stages, 0.1)})


@dataclass
class NotedWorkers:
    """Notes the batch sizes that each replica is told of, with what each takes; loads of `failing` fail."""

    failing: str = ""
    told: dict[str, dict[int, float]] = field(default_factory=dict)

    async def form(self, worker: WorkerRecord, name: str, group: Group) -> DeployedGroup:
        return DeployedGroup(name, group.config, group.devices, worker.name, worker.address, {})

    async def load(self, worker: WorkerRecord, group: DeployedGroup, model: str, target: Target) -> None:
        if model in self.failing:
            raise GroupUnavailable(f"worker {worker.name} failed")
        request = target.load_request(group, model)
        sizes = {batch.batch_size: batch.stage_latency_s[0] for batch in request.larger_batches}
        self.told[model] = {1: request.stage_latency_s[0], **sizes}

    async def unload(self, worker: WorkerRecord, group: str, model: str) -> None:
        self.told.pop(model, None)

    async def dissolve(self, worker: WorkerRecord, group: str) -> None:
        pass


class Versions:
    """Placements that are published, and no router."""

    async def new_group_name(self) -> str:
        return "g1"

    async def publish(self, deployment: Deployment) -> Deployment:
        return replace(deployment, version=deployment.version + 1)

    async def router_versions(self) -> dict[str, int]:
        return {}


async def carried_out(
    workers: Any, *groups: Group, max_batch_size: int = 1, latency_s: float = 0.1, running: Deployment = RUNNING
) -> Deployment:
    """The deployment that a transition to these groups ends with."""
    versions: Any = Versions()
    placement = Placement(groups, max_batch_size=max_batch_size)
    target = Target(placement, LiveCluster([WORKER]), MODELS, profiles(latency_s), "given")
    steps = Steps(versions, versions, workers, target)
    return await steps.carry_out(running, running, target.transition_from(running))


def lone(device: int, *models: str) -> Group:
    return Group(LONE, (device,), models)


@pytest.mark.parametrize(("max_batch_size", "sizes"), [(1, {1: 0.1}), (3, {1: 0.1}), (4, {1: 0.1, 4: 0.2})])
async def test_every_replica_that_stays_is_told_its_batch_sizes_even_if_nothing_changes(
    max_batch_size: int, sizes: dict[int, float]
) -> None:
    workers = NotedWorkers()
    await carried_out(workers, lone(0, "a", "c"), max_batch_size=max_batch_size)
    assert workers.told == {"a": pytest.approx(sizes), "c": pytest.approx(sizes)}


async def test_a_replica_that_goes_is_told_nothing() -> None:
    workers = NotedWorkers()
    await carried_out(workers, lone(0, "a"), latency_s=0.3)
    assert workers.told == {"a": {1: pytest.approx(0.3)}}


async def test_a_transition_that_fails_before_its_first_switch_leaves_the_old_batch_sizes() -> None:
    workers = NotedWorkers(failing="b")
    with pytest.raises(GroupUnavailable):
        await carried_out(workers, lone(0, "a", "c"), lone(1, "b"), max_batch_size=4)
    assert workers.told == {"a": {1: 0.1}, "c": {1: 0.1}}


async def test_a_replica_that_cannot_be_told_anew_leaves_the_others_at_the_old_batch_sizes() -> None:
    workers = NotedWorkers(failing="c")
    with pytest.raises(GroupUnavailable, match="worker w failed"):
        await carried_out(workers, lone(0, "a", "c"), max_batch_size=4)
    assert workers.told == {"a": {1: 0.1}}


async def test_what_a_planner_that_died_told_is_put_right_by_the_next_transition() -> None:
    workers = NotedWorkers(told={"a": {1: 0.1, 4: 0.2}, "c": {1: 0.1, 4: 0.2}})
    deployment = await carried_out(workers, lone(0, "a", "c"), lone(1, "b"))
    assert deployment.max_batch_size == 1
    assert workers.told == {"a": {1: 0.1}, "b": {1: 0.1}, "c": {1: 0.1}}
