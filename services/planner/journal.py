"""The account of a transition under way: which steps have begun and ended, and which models are down.

Others read it in the store, and so does a planner that comes after one that died half-way.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import structlog

from services.core.errors import AlpaServeError
from services.core.steps import Downtimes, Step, StepKind
from services.core.transition import Standing
from services.infra.background import background, repeating
from services.infra.store.connection import OUTAGES
from services.infra.store.transitions import (
    Experience,
    StepRecord,
    TransitionRecord,
    TransitionState,
    TransitionStore,
)
from services.infra.tracing import within
from services.planner.changes import Change, Target

log = structlog.get_logger()

WRITE_EVERY_S = 0.05


class Journal:
    """Notes one transition's steps; `kept` writes them to the store as they come."""

    def __init__(self, store: TransitionStore, target: Target, change: Change, began_s: float) -> None:
        self._store = store
        self._target = target
        self._change = change
        self._began_s = began_s
        self._downtimes = Downtimes(change.transition)
        self._index_of = {key(step): index for index, step in enumerate(change.schedule.steps)}
        self._steps = [self._planned(step) for step in change.schedule.steps]
        self._record: TransitionRecord | None = None
        self._is_written = True
        self._experience: dict[str, Experience] = defaultdict(Experience)

    @property
    def record(self) -> TransitionRecord:
        """The transition so far."""
        if self._record is None:
            raise RuntimeError("the journal is not kept yet")
        return replace(self._record, steps=tuple(self._steps), down=self._downtimes.windows())

    @asynccontextmanager
    async def kept(self, version: int) -> AsyncIterator[None]:
        """Keep the store's record while the block runs, and its outcome afterwards.

        What cannot be written now does not stop a transition: the placements of its switches are the truth.
        """
        self._record = TransitionRecord(
            number=await self._store.new_number(),
            state=TransitionState.RUNNING,
            version=version,
            policy=self._target.policy,
            target=self._target.placement,
            began_at_s=time.time() - self._now_s(),
            predicted_s=self._change.schedule.end_s,
            predicted_down=self._change.schedule.down,
        )
        await self._store.put(self.record)
        try:
            async with background(self._write()):
                yield
        except asyncio.CancelledError:
            # Who keeps the lease cancels its holder once it is lost; callers that go away cancel nothing.
            await self._close_lost()
            raise
        except AlpaServeError as error:
            await self._close(TransitionState.FAILED, str(error))
            raise
        except Exception:
            await self._close(TransitionState.FAILED, "internal error")
            raise
        await self._close(TransitionState.APPLIED, "")

    @contextmanager
    def step(self, kind: StepKind, phase: int, at: int | str | None = None, model: str = "") -> Iterator[None]:
        """A step that is taken while the block runs; `at` is a target index, or a running group's name."""
        index, began_s = self._index_of[kind, phase, at, model], self._now_s()
        self._note(index, replace(self._steps[index], begin_s=began_s))
        with within(kind.value, phase=phase, at="" if at is None else at, model=model):
            yield
        self._note(index, replace(self._steps[index], end_s=self._now_s()))
        self._learn(self._steps[index], self._now_s() - began_s)

    def formed(self, index: int, name: str) -> None:
        """A group of the target has its name now."""
        for number, record in enumerate(self._steps):
            if record.step.index == index:
                self._steps[number] = replace(record, group=name)

    def switched(self, standing: Standing, is_last: bool, version: int) -> None:
        """Routers may know the placement of a switch."""
        self._downtimes.switched(standing, is_last, self._now_s())
        if self._record is not None:
            self._record = replace(self._record, version=version)
        self._is_written = False

    def returning_s(self, phase: int) -> dict[str, float]:
        """The models that are down after a phase's switch, and in how many seconds they should be back."""
        steps, down = self._change.schedule.steps, self._change.schedule.down
        switch_s = next(step.begin_s for step in steps if (step.kind, step.phase) == (StepKind.SWITCH, phase))
        return {
            window.model: window.end_s - switch_s
            for window in down
            if window.end_s is not None and window.begin_s <= switch_s < window.end_s
        }

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _planned(self, step: Step) -> StepRecord:
        if step.index is not None:
            kept, group = self._change.transition.kept.get(step.index), self._target.placement.groups[step.index]
            num_bytes = self._target.heaviest(step.model, group.config) if step.model else 0
            return StepRecord(step, "" if kept is None else kept.name, group.config, group.devices, num_bytes)
        for known in self._change.transition.running:
            if known.name == step.group:
                return StepRecord(step, known.name, known.config, known.devices)
        return StepRecord(step)

    def _note(self, index: int, record: StepRecord) -> None:
        self._steps[index] = record
        self._is_written = False

    def _learn(self, record: StepRecord, seconds: float) -> None:
        kind, index = record.step.kind, record.step.index
        if kind is StepKind.SWITCH:
            for worker in self._target.cluster.workers:
                self._add(worker.name, Experience(switch_s=(seconds,)))
        elif index is not None:
            worker = self._target.cluster.worker_of(self._target.placement.groups[index])
            if kind is StepKind.FORM:
                self._add(worker.name, Experience(form_s=(seconds,)))
            elif record.num_bytes and seconds:
                self._add(worker.name, Experience(load_bytes_per_s=(record.num_bytes / seconds,)))

    def _add(self, worker: str, one: Experience) -> None:
        self._experience[worker] = self._experience[worker].after(one)

    async def _write(self) -> None:
        async for _ in repeating(WRITE_EVERY_S):
            if not self._is_written:
                self._is_written = True
                await self._put(self.record)

    async def _close(self, state: TransitionState, error: str) -> None:
        await self._put(replace(self.record, state=state, error=error, transition_s=self._now_s()))
        try:
            known = await self._store.experience()
            learnt = {name: known.get(name, Experience()).after(newer) for name, newer in self._experience.items()}
            await self._store.put_experience(learnt)
        except OUTAGES as outage:
            log.warning("step_costs_not_recorded", error=str(outage))

    async def _close_lost(self) -> None:
        """On record as failed, unless whoever holds the right now keeps a record already."""
        try:
            last = await self._store.last()
        except OUTAGES as outage:
            log.warning("transition_not_recorded", error=str(outage))
            return
        if last is None or last.number == self.record.number:
            await self._close(TransitionState.FAILED, "the right to change the placement was lost")

    async def _put(self, record: TransitionRecord) -> None:
        try:
            await self._store.put(record)
        except OUTAGES as error:
            log.warning("transition_not_recorded", error=str(error))
            await asyncio.sleep(WRITE_EVERY_S)


def key(step: Step) -> tuple[StepKind, int, int | str | None, str]:
    """What tells the steps of a transition apart."""
    at = step.group or None if step.index is None else step.index
    return step.kind, step.phase, at, step.model
