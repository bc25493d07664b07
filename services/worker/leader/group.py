"""The leader of one group: admits by predicted finish, and leads batches of requests through the stages.

First come, first served (AlpaServe, section 4.3), or in batches by `services.core.batching`. The loop
that owns it is its only caller.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from time import monotonic

import structlog

from services.core import schedule
from services.core.errors import InvalidInput
from services.core.signature import Signature
from services.infra.background import background
from services.infra.meters import QUEUE_BOUNDS_S, Distribution
from services.worker.leader.clocks import StageClocks
from services.worker.leader.executor import Executor, Replica, Tensors
from services.worker.leader.flight import Batch, Failed, Failure, Flight, Outcome, Rejected, Served
from services.worker.leader.tally import GroupTally

log = structlog.get_logger()


class GroupLeader:
    """Queue, clocks and replicas of a group. Enter it to run its stages."""

    def __init__(
        self,
        name: str,
        num_stages: int,
        executor: Executor,
        queue_limit: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.name = name
        self.clocks = StageClocks(num_stages)
        self.replicas: dict[str, Replica] = {}
        self.num_events = 0
        self.local_devices: tuple[int, ...] = ()
        self._queue_time_s = Distribution(QUEUE_BOUNDS_S)
        self._executor = executor
        self._queue_limit = queue_limit
        self._clock = clock
        self._is_idle = True
        self._waiting: list[asyncio.Queue[Batch]] = [asyncio.Queue() for _ in range(num_stages)]
        self._leaving: set[str] = set()
        self._one_ended = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "GroupLeader":
        stages = (self._run_stage(stage) for stage in range(self.clocks.num_stages))
        await self._stack.enter_async_context(background(*stages))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        for flight in list(self.clocks.flights.values()):
            self._end(flight, Failed(Failure.DRAINING, f"group {self.name} is gone", flight.has_begun))
        self._executor.close()

    async def load(self, replica: Replica) -> None:
        """Make a model ready; loading it again changes only what it is predicted to take, and the sizes of
        its batches."""
        name = replica.model.name
        ready = replica.of_sizes(await self._executor.load(replica))
        self._leaving.discard(name)
        self.replicas[name] = ready
        self.clocks.serve(ready)

    def signature(self, name: str) -> Signature | None:
        """What a loaded model takes and gives, where its devices care."""
        return self._executor.signature(name)

    async def unload(self, name: str) -> None:
        """Let what was admitted of a model finish, then free it. Without the model nothing happens."""
        if name not in self.replicas:
            return
        self._leaving.add(name)
        await self.drained(name)
        if name in self._leaving:
            del self.replicas[name]
            self.clocks.forget(name)
            self._leaving.discard(name)
            await self._executor.unload(name)

    def tally(self) -> GroupTally:
        """What was counted so far."""
        queue_time_s = self._queue_time_s
        return GroupTally(
            self.name,
            self.clocks.busy_s(self._clock()),
            len(self.clocks.flights),
            self.clocks.num_waiting,
            tuple(queue_time_s.counts),
            queue_time_s.total,
        )

    async def drained(self, name: str | None = None) -> None:
        """Wait until nothing (of a model) is in flight."""
        while any(name is None or flight.model == name for flight in self.clocks.flights.values()):
            self._one_ended.clear()
            await self._one_ended.wait()

    def refuse_all(self) -> None:
        """Take no new work."""
        self._leaving.update(self.replicas)

    def admit(self, model: str, inputs: Tensors, remaining_s: float) -> Flight | Rejected | Failed:
        """Take one request that must end within `remaining_s` into the queue; its flight ends with the outcome."""
        replica = self.replicas.get(model)
        if replica is None:
            return Failed(Failure.NOT_LOADED, f"group {self.name} does not hold model {model!r}")
        if model in self._leaving:
            return Failed(Failure.DRAINING, f"model {model!r} is leaving group {self.name}")
        try:
            activation = self._executor.prepare(model, inputs)
        except InvalidInput as error:
            return Failed(Failure.INVALID_INPUT, str(error))
        now_s = self._clock()
        finish_s = self.clocks.predicted_end(model, now_s) + replica.request_overhead_s
        queue_full = len(self.clocks.flights) >= self._queue_limit
        if queue_full or not schedule.admits(finish_s, now_s, remaining_s):
            return Rejected(finish_s - now_s, queue_full)
        flight = Flight(replica, activation, now_s, remaining_s, finish_s - now_s)
        self.clocks.admit(flight, now_s)
        if self._is_idle:
            self._begin(now_s)
        self.num_events += 1
        return flight

    def _begin(self, now_s: float) -> None:
        """Stage 0 is idle: give it what the rule chooses of the queue."""
        batch, dropped = self.clocks.begin(now_s)
        for flight in dropped:
            self._end(flight, too_late(0))
        self._is_idle = batch is None
        if batch is not None:
            self._waiting[0].put_nowait(batch)

    async def _run_stage(self, stage: int) -> None:
        while True:
            batch = await self._waiting[stage].get()
            if self._is_worth_running(batch):
                await self._run(batch)
            else:
                self.clocks.gone(batch)
                if stage == 0:
                    self._begin(self._clock())

    def _is_worth_running(self, batch: Batch) -> bool:
        """Whether an answer can still be of use; ends the members of whom that is not so."""
        now_s = self._clock()
        for flight in batch.members:
            if not flight.is_wanted:
                self._end(flight, None)
            elif batch.stage and batch.is_too_late_for(flight, now_s):
                self._end(flight, too_late(batch.stage))
        return not batch.is_over

    async def _run(self, batch: Batch) -> None:
        stage = batch.stage
        if stage:
            self.clocks.stage_began(batch, self._clock())
        try:
            batch.activation = await self._executor.run_stage(batch.model, stage, batch.activation)
        except Exception:
            self._break(batch, stage)
        now_s = self._clock()
        self.clocks.stage_ended(batch, now_s)
        self.num_events += 1
        if stage == 0:
            self._begin(now_s)
        if batch.is_over:
            self.clocks.gone(batch)
        elif batch.stage < self.clocks.num_stages:
            self._waiting[batch.stage].put_nowait(batch)
        else:
            # The stage takes its next batch before the answers to this one are made.
            asyncio.get_running_loop().call_soon(self._answer, batch, now_s)

    def _answer(self, batch: Batch, finish_s: float) -> None:
        try:
            outputs = self._executor.collect(batch.model, batch.activation)
            answers = list(zip(batch.members, outputs, strict=True))
        except Exception:
            self._break(batch, batch.stage - 1)
            answers = []
        for flight, tensors in answers:
            queue_time_s = max(0.0, finish_s - flight.arrival_s - batch.execution_time_s)
            self._queue_time_s.observe(queue_time_s)
            served = Served(
                tensors,
                queue_time_s,
                batch.execution_time_s,
                flight.predicted_s,
                len(batch.members),
                batch.runs_since(flight.arrival_s),
                self._clock() - flight.arrival_s,
            )
            self._end(flight, served)
        self.clocks.gone(batch)

    def _break(self, batch: Batch, stage: int) -> None:
        """A bug ends its own batch only."""
        traces = [flight.trace_id for flight in batch.members if flight.trace_id]
        told = log.bind(trace_ids=traces) if traces else log
        told.exception("stage_failed", group=self.name, stage=stage, model=batch.model)
        for flight in batch.members:
            self._end(flight, Failed(Failure.INTERNAL, "internal error", True))

    def abandon(self, flight: Flight) -> None:
        """Nobody waits for an answer any more: a request that has not begun never will."""
        flight.is_wanted = False
        if not flight.has_begun:
            self._end(flight, None)

    def _end(self, flight: Flight, outcome: Outcome | None) -> None:
        self.clocks.left(flight)
        self.num_events += 1
        self._one_ended.set()
        flight.end(outcome)


def too_late(stage: int) -> Failed:
    return Failed(Failure.DEADLINE_PASSED, f"the deadline cannot be kept any more at stage {stage}", stage > 0)
