"""The steps of a transition on workers that note what they are told, and may fail."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from services.core.deployment import DeployedGroup, Deployment
from services.core.errors import GroupUnavailable
from services.core.model import RegisteredModel
from services.core.placement import Group, Placement
from services.core.profile import ModelProfile, ParallelConfig, Profiles, StageProfile
from services.core.steps import StepCosts
from services.infra.store.members import WorkerRecord
from services.infra.store.transitions import REMEMBERED, Experience, TransitionRecord, TransitionState
from services.planner.carrying import Carrying
from services.planner.changes import Target
from services.planner.cluster import LiveCluster
from services.planner.journal import Journal
from tests.waiting import until

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


class StuckWorkers(NotedWorkers):
    """Never load "b"."""

    async def load(self, worker: WorkerRecord, group: DeployedGroup, model: str, target: Target) -> None:
        if model == "b":
            await asyncio.Event().wait()


@dataclass
class Versions:
    """Placements that are published, no router, whose versions `num_outages` cannot be read at first, and the records
    of the transition."""

    records: list[TransitionRecord] = field(default_factory=list)
    known: dict[str, Experience] = field(default_factory=dict)
    num_outages: int = 0

    async def new_group_name(self) -> str:
        return "g1"

    async def publish(self, deployment: Deployment) -> Deployment:
        return replace(deployment, version=deployment.version + 1)

    async def router_versions(self) -> dict[str, int]:
        if self.num_outages:
            self.num_outages -= 1
            raise RedisConnectionError("away")
        return {}

    async def new_number(self) -> int:
        return 7

    async def last(self) -> TransitionRecord | None:
        return self.records[-1] if self.records else None

    async def put(self, record: TransitionRecord) -> None:
        self.records.append(record)

    async def experience(self) -> dict[str, Experience]:
        return self.known

    async def put_experience(self, experience: dict[str, Experience]) -> None:
        self.known.update(experience)


async def carried_out(
    workers: Any,
    *groups: Group,
    max_batch_size: int = 1,
    latency_s: float = 0.1,
    running: Deployment = RUNNING,
    versions: Versions | None = None,
) -> Deployment:
    """The deployment that a transition to these groups ends with."""
    store: Any = versions or Versions()
    placement = Placement(groups, max_batch_size=max_batch_size)
    target = Target(placement, LiveCluster([WORKER]), MODELS, profiles(latency_s), "given")
    change = target.change(target.transition_from(running))
    journal = Journal(store, target, change, time.monotonic())
    async with journal.kept(running.version):
        return await Carrying(store, store, workers, target, journal).carry_out(running, change.transition)


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


async def test_the_record_tells_every_step_and_what_became_of_it() -> None:
    versions = Versions()
    await carried_out(NotedWorkers(), lone(0, "a"), lone(1, "b"), versions=versions)
    first, last = versions.records[0], versions.records[-1]
    kinds = ["form", "load", "switch", "unload"]
    assert [record.step.kind for record in last.steps] == kinds
    assert [record.group for record in last.steps] == ["g1", "g1", "", "g0"]
    assert (first.state, last.state, last.version) == (TransitionState.RUNNING, TransitionState.APPLIED, 2)
    assert all(record.begin_s is None for record in first.steps)
    assert all(0 <= (record.begin_s or 0) <= (record.end_s or -1) for record in last.steps)


async def test_a_step_that_fails_is_left_open_in_the_record() -> None:
    versions = Versions()
    with pytest.raises(GroupUnavailable):
        await carried_out(NotedWorkers(failing="b"), lone(0, "a", "c"), lone(1, "b"), versions=versions)
    last = versions.records[-1]
    assert (last.state, last.error) == (TransitionState.FAILED, "worker w failed")
    assert [(record.step.kind, record.end_s is None) for record in last.steps] == [
        ("form", False),
        ("load", True),
        ("switch", True),
    ]


async def test_what_steps_took_is_what_the_next_ones_are_predicted_to_take() -> None:
    versions = Versions(known={"w": Experience(load_bytes_per_s=(5.0,)), "other": Experience(form_s=(1.0,))})
    await carried_out(NotedWorkers(), lone(0, "a", "c"), lone(1, "b"), versions=versions)
    learnt = versions.known["w"]
    load = versions.records[-1].steps[1]
    assert (load.step.kind, load.num_bytes) == ("load", 10)
    assert learnt.load_bytes_per_s[0] == 5.0
    assert learnt.load_bytes_per_s[1] == pytest.approx(10 / ((load.end_s or 0) - (load.begin_s or 0)), rel=0.5)
    assert (len(learnt.form_s), len(learnt.switch_s)) == (1, 1)
    assert versions.known["other"] == Experience(form_s=(1.0,))


def test_steps_cost_the_median_of_the_last_ones_or_what_is_assumed() -> None:
    assumed = StepCosts(load_bytes_per_s=7.0, form_s=3.0, switch_s=2.0)
    known = Experience(form_s=(9.0,) * REMEMBERED).after(
        Experience(form_s=(1.0,) * REMEMBERED, switch_s=(1.0, 5.0, 6.0))
    )
    assert known.costs(assumed) == StepCosts(load_bytes_per_s=7.0, form_s=1.0, switch_s=5.0)


async def test_an_outage_while_routers_follow_stops_no_transition() -> None:
    versions = Versions(num_outages=3)
    await carried_out(NotedWorkers(), lone(0, "a"), lone(1, "b"), versions=versions)
    assert (versions.records[-1].state, versions.num_outages) == (TransitionState.APPLIED, 0)


async def half_way(versions: Versions) -> "asyncio.Task[Deployment]":
    """A transition that has formed a group, and loads into it without end."""
    task = asyncio.create_task(carried_out(StuckWorkers(), lone(0, "a", "c"), lone(1, "b"), versions=versions))
    await until(lambda: any(record.steps[0].end_s is not None for record in versions.records))
    return task


async def test_a_transition_that_loses_the_lease_is_on_record_as_failed() -> None:
    versions = Versions()
    task = await half_way(versions)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert versions.records[-1].state is TransitionState.FAILED
    assert "right" in versions.records[-1].error


async def test_a_transition_that_loses_the_lease_leaves_the_record_of_the_next_one() -> None:
    versions = Versions()
    task = await half_way(versions)
    versions.records.append(replace(versions.records[-1], number=8))
    task.cancel()
    await asyncio.wait([task])
    assert (versions.records[-1].number, versions.records[-1].state) == (8, TransitionState.RUNNING)
