"""Carries transitions out: load, switch, drain, unload, under a lease.

What runs is read from the workers first, and their steps may be repeated, so a transition that was
cut off is put right by the next one.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import structlog

from services.core.deployment import DeployedGroup, Deployment
from services.core.errors import AlpaServeError, GroupUnavailable, VersionConflict
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.placements import PlacementStore
from services.planner.changes import Change, Target, Workers, routers_follow
from services.planner.transition import Phase, ReplicaRef, Transition
from services.planner.underway import Underway

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Applied:
    """A transition that ended."""

    deployment: Deployment
    change: Change
    transition_s: float


class Transitions:
    """The one way in which the running placement changes."""

    def __init__(self, placements: PlacementStore, members: MemberStore, workers: Workers) -> None:
        self._placements = placements
        self._members = members
        self._workers = workers

    async def apply(self, target: Target, expected_version: int | None) -> Applied:
        """Make `target`, which was checked, the running placement.

        Raises: VersionConflict if another version runs than expected, or while another transition
        does; GroupUnavailable if a worker fails.
        """
        began_s = time.monotonic()
        async with self._placements.lease():
            current = await self._placements.current()
            if expected_version is not None and current.version != expected_version:
                raise VersionConflict(f"placement version {current.version} runs, not {expected_version}")
            running = await self._reconciled(current, target.cluster.workers)
            transition = target.transition_from(running)
            log.info("transition_started", placement_version=current.version, num_loads=len(transition.loads))
            steps = Steps(self._placements, self._members, self._workers, target)
            deployment = await steps.carry_out(current, running, transition)
        transition_s = time.monotonic() - began_s
        log.info("placement_applied", placement_version=deployment.version, transition_s=transition_s)
        return Applied(deployment, target.change(transition), transition_s)

    async def is_whole(self, current: Deployment, workers: tuple[WorkerRecord, ...]) -> bool:
        """Whether every group of the placement whose worker is alive runs where it should."""
        names = {worker.name for worker in workers}
        found: dict[str, DeployedGroup] = {}
        for worker in workers:
            found.update(await self._workers.running(worker))
        return all(
            group.name in found
            and found[group.name].address == group.address
            and set(found[group.name].replicas) >= set(group.replicas)
            for group in current.groups
            if group.worker in names
        )

    async def _reconciled(self, current: Deployment, workers: tuple[WorkerRecord, ...]) -> Deployment:
        """What of the current placement really runs; what runs beside it is ended first."""
        running = []
        expected = {group.name: group for group in current.groups}
        for worker in workers:
            for name, found in (await self._workers.running(worker)).items():
                group = expected.get(name)
                if group is None or group.shape != found.shape:
                    await self._workers.dissolve(worker, name)
                    continue
                for model in set(found.replicas) - set(group.replicas):
                    await self._workers.unload(worker, name, model)
                kept = {model: latency for model, latency in group.replicas.items() if model in found.replicas}
                running.append(replace(group, replicas=kept, address=found.address))
        return replace(current, groups=tuple(running))


class Steps:
    """One transition's steps, in order."""

    def __init__(self, placements: PlacementStore, members: MemberStore, workers: Workers, target: Target) -> None:
        self._placements = placements
        self._members = members
        self._workers = workers
        self._target = target
        self._by_name = {worker.name: worker for worker in target.cluster.workers}

    async def carry_out(self, current: Deployment, running: Deployment, transition: Transition) -> Deployment:
        """Phase by phase: load, switch, drain and unload. What was formed for a failed first phase is
        dissolved again, and what stays goes back to its old batch sizes; after a later one, the placement
        of the last switch runs on."""
        state = Underway(running, transition, self._target)
        deployment = replace(running, version=current.version)
        for number, phase in enumerate(transition.phases or (Phase((), ()),)):
            is_last = number + 1 >= len(transition.phases)
            try:
                if number == 0:
                    await self._refresh(transition, self._target)
                await self._load(state, phase)
            except Exception:
                await self._dissolve(state.unpublished())
                if number == 0:
                    await self._refresh_back(transition, running.max_batch_size)
                raise
            state.removed.update(phase.unloads)
            deployment = await self._publish(state.deployment(is_last), deployment.version)
            state.note_published()
            for ref in phase.unloads:
                await self._unload(state, ref)
        await self._dissolve(list(transition.dissolved))
        return deployment

    async def _refresh(self, transition: Transition, target: Target) -> None:
        """Tell every replica that stays what it is predicted to take, and the batch sizes that it may form.

        No deployment says what a replica was last told: a transition that failed, or whose planner died, may
        have told it anything. So all are told, each time.
        """
        for group, model in self._staying(transition):
            await self._workers.load(self._by_name[group.worker], group, model, target)

    async def _refresh_back(self, transition: Transition, max_batch_size: int) -> None:
        """Allow again only what the placement that runs on allows; what is not reached, the next transition tells."""
        wanted = self._target.placement
        if max_batch_size == wanted.max_batch_size:
            return
        before = replace(self._target, placement=replace(wanted, max_batch_size=max_batch_size))
        try:
            await self._refresh(transition, before)
        except AlpaServeError as error:
            log.warning("batch_sizes_left_behind", max_batch_size=wanted.max_batch_size, error=str(error))

    def _staying(self, transition: Transition) -> Iterator[tuple[DeployedGroup, str]]:
        """The replicas that run before and after."""
        for index, group in transition.kept.items():
            wanted = self._target.placement.groups[index].models
            yield from ((group, model) for model in group.replicas if model in wanted)

    async def _load(self, state: Underway, phase: Phase) -> None:
        for index, model in phase.loads:
            wanted = self._target.placement.groups[index]
            worker = self._target.cluster.worker_of(wanted)
            if index not in state.groups:
                name = await self._placements.new_group_name()
                state.groups[index] = await self._workers.form(worker, name, wanted)
            await self._workers.load(worker, state.groups[index], model, self._target)
            state.loaded.add((index, model))

    async def _publish(self, deployment: Deployment, version: int) -> Deployment:
        published = await self._placements.publish(replace(deployment, version=version, created_at_s=time.time()))
        await routers_follow(self._members, published.version)
        return published

    async def _unload(self, state: Underway, ref: ReplicaRef) -> None:
        """The switch is done: a worker that is gone has unloaded as well."""
        try:
            await self._workers.unload(self._by_name[state.worker_of(ref)], ref.group, ref.model)
        except GroupUnavailable as error:
            log.warning("replica_left_behind", group=ref.group, model=ref.model, error=str(error))

    async def _dissolve(self, groups: list[DeployedGroup]) -> None:
        for group in groups:
            try:
                await self._workers.dissolve(self._by_name[group.worker], group.name)
            except GroupUnavailable as error:
                log.warning("group_left_behind", group=group.name, error=str(error))
