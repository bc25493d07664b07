"""Carries a transition out, phase by phase: form and load, switch, drain and unload."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import structlog

from services.core.deployment import DeployedGroup, Deployment
from services.core.errors import AlpaServeError, GroupUnavailable
from services.core.steps import StepKind, loads_by_group, phases_of, unloads_by_group
from services.core.transition import Transition
from services.infra.store.members import MemberStore
from services.infra.store.placements import PlacementStore
from services.planner.changes import Target
from services.planner.journal import Journal
from services.planner.underway import Underway
from services.planner.workers import Workers, routers_follow

log = structlog.get_logger()


class Carrying:
    """One transition's steps. Groups load, and unload, side by side; each its models one after another."""

    def __init__(
        self, placements: PlacementStore, members: MemberStore, workers: Workers, target: Target, journal: Journal
    ) -> None:
        self._placements = placements
        self._members = members
        self._workers = workers
        self._target = target
        self._journal = journal
        self._by_name = {worker.name: worker for worker in target.cluster.workers}

    async def carry_out(self, running: Deployment, transition: Transition) -> Deployment:
        """All phases. What was formed for a failed first phase is dissolved again, and what stays goes back to its
        old batch sizes; after a later one, the placement of the last switch runs on."""
        state = Underway(transition, self._target)
        deployment = running
        phases = phases_of(transition)
        for number, phase in enumerate(phases):
            try:
                if number == 0:
                    await self._refresh(transition, self._target)
                loads = loads_by_group(phase)
                await all_of(*(self._load(state, number, index, models) for index, models in loads.items()))
            except Exception:
                await self._dissolve(state.unpublished())
                if number == 0:
                    await self._refresh_back(transition, running.max_batch_size)
                raise
            state.standing.loaded.update(phase.loads)
            state.standing.removed.update(phase.unloads)
            deployment = await self._switch(state, number, number + 1 == len(phases), deployment.version)
            unloads = unloads_by_group(phase)
            await all_of(*(self._unload(state, number, group, models) for group, models in unloads.items()))
        gone = transition.dissolved
        await all_of(*(self._dissolve_in(len(phases) - 1, group) for group in gone))
        return deployment

    async def _refresh(self, transition: Transition, target: Target) -> None:
        """Tell every replica that stays what it is predicted to take, and the batch sizes that it may form.

        No deployment says what a replica was last told: a transition that failed, or whose planner died, may
        have told it anything. So all are told, each time.
        """
        await all_of(
            *(
                self._workers.load(self._by_name[group.worker], group, model, target)
                for group, model in self._staying(transition)
            )
        )

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

    async def _load(self, state: Underway, number: int, index: int, models: list[str]) -> None:
        worker = self._target.cluster.worker_of(self._target.placement.groups[index])
        if index not in state.groups:
            name = await self._placements.new_group_name()
            wanted = state.begin_forming(index, name, worker.name)
            with self._journal.step(StepKind.FORM, number, index):
                state.groups[index] = await self._workers.form(worker, name, wanted)
            self._journal.formed(index, name)
        for model in models:
            with self._journal.step(StepKind.LOAD, number, index, model):
                await self._workers.load(worker, state.groups[index], model, self._target)

    async def _switch(self, state: Underway, number: int, is_last: bool, version: int) -> Deployment:
        with self._journal.step(StepKind.SWITCH, number):
            following = replace(
                state.deployment(is_last),
                version=version,
                created_at_s=time.time(),
                returning_s=self._journal.returning_s(number),
            )
            published = await self._placements.publish(following)
            self._journal.switched(state.standing, is_last, published.version)
            state.note_published()
            await routers_follow(self._members, published.version)
        return published

    async def _unload(self, state: Underway, number: int, group: str, models: list[str]) -> None:
        """The switch is done: a worker that is gone has unloaded as well."""
        for model in models:
            with self._journal.step(StepKind.UNLOAD, number, group, model):
                try:
                    await self._workers.unload(self._by_name[state.worker_of(group)], group, model)
                except GroupUnavailable as error:
                    log.warning("replica_left_behind", group=group, model=model, error=str(error))

    async def _dissolve_in(self, number: int, group: DeployedGroup) -> None:
        with self._journal.step(StepKind.DISSOLVE, number, group.name):
            await self._dissolve([group])

    async def _dissolve(self, groups: list[DeployedGroup]) -> None:
        for group in groups:
            try:
                await self._workers.dissolve(self._by_name[group.worker], group.name)
            except GroupUnavailable as error:
                log.warning("group_left_behind", group=group.name, error=str(error))


async def all_of(*steps: Coroutine[Any, Any, None]) -> None:
    """Take steps side by side, each to its end: books and facts stay together. Raises: the first error, then."""
    ends = await asyncio.gather(*steps, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
