"""Carries transitions out: load, switch, drain, unload, under a lease.

What runs is read from the workers first, and their steps may be repeated, so a transition that was
cut off is put right by the next one.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from services.core.deployment import DeployedGroup, Deployment
from services.core.errors import GroupUnavailable, VersionConflict
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.placements import PlacementStore
from services.planner.changes import Target, Workers, routers_follow
from services.planner.transition import ReplicaRef, Transition, plan_transition

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Applied:
    """A transition that ended."""

    deployment: Deployment
    transition: Transition
    transition_s: float


class Transitions:
    """The one way in which the running placement changes."""

    def __init__(self, placements: PlacementStore, members: MemberStore, workers: Workers) -> None:
        self._placements = placements
        self._members = members
        self._workers = workers

    async def apply(self, target: Target, expected_version: int | None) -> Applied:
        """Make `target` the running placement.

        Raises: VersionConflict if another version runs than expected, or while another transition
        does; what `Target.check` raises; GroupUnavailable if a worker fails.
        """
        target.check()
        began_s = time.monotonic()
        async with self._placements.lease():
            current = await self._placements.current()
            if expected_version is not None and current.version != expected_version:
                raise VersionConflict(f"placement version {current.version} runs, not {expected_version}")
            running = await self._reconciled(current, target.cluster.workers)
            transition = plan_transition(running, target.placement, target.heaviest, target.cluster.memory_bytes)
            log.info("transition_started", placement_version=current.version, num_loads=len(transition.loads))
            steps = Steps(self._placements, self._members, self._workers, target)
            deployment = await steps.carry_out(current, running, transition)
        transition_s = time.monotonic() - began_s
        log.info("placement_applied", placement_version=deployment.version, transition_s=transition_s)
        return Applied(deployment, transition, transition_s)

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
        version = current.version
        if transition.early:
            meanwhile = without(running, transition.early)
            version = (await self._publish(meanwhile, version)).version
            await self._unload(running, transition.early)
        groups = await self._form_and_load(transition)
        deployment = await self._publish(self._deployment(groups), version)
        await self._unload(running, set(transition.unloads) - transition.early)
        for group in transition.dissolved:
            await self._workers.dissolve(self._by_name[group.worker], group.name)
        return deployment

    async def _publish(self, deployment: Deployment, version: int) -> Deployment:
        published = await self._placements.publish(replace(deployment, version=version, created_at_s=time.time()))
        await routers_follow(self._members, published.version)
        return published

    async def _unload(self, running: Deployment, replicas: set[ReplicaRef] | frozenset[ReplicaRef]) -> None:
        workers = {group.name: self._by_name[group.worker] for group in running.groups}
        for replica in sorted(replicas):
            await self._workers.unload(workers[replica.group], replica.group, replica.model)

    async def _form_and_load(self, transition: Transition) -> dict[int, DeployedGroup]:
        """The target's groups by index; what was formed is dissolved again if a step fails."""
        groups = dict(transition.kept)
        formed: list[DeployedGroup] = []
        try:
            for index in transition.formed:
                group = self._target.placement.groups[index]
                worker = self._target.cluster.worker_of(group)
                groups[index] = await self._workers.form(worker, await self._placements.new_group_name(), group)
                formed.append(groups[index])
            for index, model in transition.loads:
                worker = self._by_name[groups[index].worker]
                await self._workers.load(worker, groups[index], model, self._target)
        except Exception:
            await self._dissolve_again(formed)
            raise
        return groups

    async def _dissolve_again(self, formed: list[DeployedGroup]) -> None:
        for group in formed:
            try:
                await self._workers.dissolve(self._by_name[group.worker], group.name)
            except GroupUnavailable as error:
                log.warning("group_left_behind", group=group.name, error=str(error))

    def _deployment(self, groups: Mapping[int, DeployedGroup]) -> Deployment:
        target = self._target
        deployed = []
        for index, wanted in enumerate(target.placement.groups):
            replicas = {model: target.latency_s(model, wanted.config) for model in wanted.models}
            deployed.append(replace(groups[index], replicas=replicas))
        return Deployment(
            groups=tuple(deployed),
            models=target.deployed_models(),
            request_overhead_s=target.profiles.request_overhead_s,
            dispatch=target.placement.dispatch,
            policy=target.policy,
        )


def without(deployment: Deployment, replicas: frozenset[ReplicaRef]) -> Deployment:
    """The same deployment with those replicas gone."""
    groups = []
    for group in deployment.groups:
        kept = {
            model: latency for model, latency in group.replicas.items() if ReplicaRef(group.name, model) not in replicas
        }
        groups.append(replace(group, replicas=kept))
    return replace(deployment, groups=tuple(groups))
