"""The one way in which the running placement changes: under a lease, from what really runs.

What runs is read from the workers first, and their steps may be repeated, so a transition that was
cut off is put right by the next one.
"""

import time
from dataclasses import dataclass, replace

import structlog

from services.core.deployment import DeployedGroup, Deployment
from services.core.errors import VersionConflict
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.placements import PlacementStore
from services.infra.store.transitions import TransitionRecord, TransitionStore
from services.infra.tracing import within
from services.planner.carrying import Carrying
from services.planner.changes import Change, Target
from services.planner.journal import Journal
from services.planner.metrics import measured_transition
from services.planner.workers import Workers

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Applied:
    """A transition that ended, with its account."""

    deployment: Deployment
    change: Change
    record: TransitionRecord
    transition_s: float


class Transitions:
    """Carries targets out, one at a time."""

    def __init__(
        self, placements: PlacementStore, members: MemberStore, workers: Workers, records: TransitionStore
    ) -> None:
        self._placements = placements
        self._members = members
        self._workers = workers
        self._records = records

    async def apply(self, target: Target, expected_version: int | None) -> Applied:
        """Make `target`, which was checked, the running placement.

        Raises: VersionConflict if another version runs than expected, or while another transition
        does; GroupUnavailable if a worker fails.
        """
        began_s = time.monotonic()
        with within("transition", policy=target.policy):
            return await self._apply(target, expected_version, began_s)

    async def _apply(self, target: Target, expected_version: int | None, began_s: float) -> Applied:
        async with self._placements.lease():
            current = await self._placements.current()
            if expected_version is not None and current.version != expected_version:
                raise VersionConflict(f"placement version {current.version} runs, not {expected_version}")
            running = await self._reconciled(current, target.cluster.workers)
            change = target.change(target.transition_from(running))
            log.info("transition_started", placement_version=current.version, num_steps=len(change.schedule.steps))
            journal = Journal(self._records, target, change, began_s)
            with measured_transition():
                async with journal.kept(current.version):
                    carrying = Carrying(self._placements, self._members, self._workers, target, journal)
                    deployment = await carrying.carry_out(running, change.transition)
            transition_s = time.monotonic() - began_s
        log.info(
            "placement_applied",
            placement_version=deployment.version,
            transition_s=transition_s,
            predicted_s=change.schedule.end_s,
        )
        return Applied(deployment, change, journal.record, transition_s)

    async def is_whole(self, current: Deployment, workers: tuple[WorkerRecord, ...]) -> bool:
        """Whether every group of the placement whose worker is alive runs where it should."""
        names = {worker.name for worker in workers}
        found = await self._found(workers)
        return all(
            group.name in found
            and found[group.name].address == group.address
            and set(found[group.name].replicas) >= set(group.replicas)
            for group in current.groups
            if group.worker in names
        )

    async def has_leftovers(self, current: Deployment, workers: tuple[WorkerRecord, ...]) -> bool:
        """Whether a worker holds groups or replicas that the placement does not know."""
        known = {group.name: set(group.replicas) for group in current.groups}
        found = await self._found(workers)
        return any(name not in known or set(group.replicas) - known[name] for name, group in found.items())

    async def _found(self, workers: tuple[WorkerRecord, ...]) -> dict[str, DeployedGroup]:
        found: dict[str, DeployedGroup] = {}
        for worker in workers:
            found.update(await self._workers.running(worker))
        return found

    async def _reconciled(self, current: Deployment, workers: tuple[WorkerRecord, ...]) -> Deployment:
        """What of the current placement really runs, in its order; what runs beside it is ended first."""
        running = {}
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
                running[name] = replace(group, replicas=kept, address=found.address)
        return replace(current, groups=tuple(running[name] for name in expected if name in running))
