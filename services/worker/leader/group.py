"""The leader of one group: admits by predicted finish, and leads requests through the stages.

First come, first served (AlpaServe, section 4.3). The loop that owns it is its only caller.
"""

import asyncio
from contextlib import AsyncExitStack
from time import monotonic

import structlog

from services.core import schedule
from services.core.errors import InvalidInput
from services.infra.background import background
from services.worker.leader.clocks import StageClocks
from services.worker.leader.executor import Executor, Replica, Tensors
from services.worker.leader.flight import Failed, Failure, Flight, Outcome, Rejected, Served

log = structlog.get_logger()


class GroupLeader:
    """Queue, clocks and replicas of a group. Enter it to run its stages."""

    def __init__(self, name: str, num_stages: int, executor: Executor, queue_limit: int) -> None:
        self.name = name
        self.clocks = StageClocks(num_stages)
        self.replicas: dict[str, Replica] = {}
        self.num_events = 0
        self._executor = executor
        self._queue_limit = queue_limit
        self._waiting: list[asyncio.Queue[Flight]] = [asyncio.Queue() for _ in range(num_stages)]
        self._leaving: set[str] = set()
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
        """Make a model ready; loading it again changes only what it is predicted to take."""
        name = replica.model.name
        await self._executor.load(replica)
        self._leaving.discard(name)
        self.replicas[name] = replica

    async def unload(self, name: str) -> None:
        """Let what was admitted of a model finish, then free it. Without the model nothing happens."""
        if name not in self.replicas:
            return
        self._leaving.add(name)
        await self.drained(name)
        if name in self._leaving:
            del self.replicas[name]
            self._leaving.discard(name)
            await self._executor.unload(name)

    async def drained(self, name: str | None = None) -> None:
        """Wait until nothing (of a model) is in flight."""
        ends = [
            flight.outcome
            for flight in self.clocks.flights.values()
            if name is None or flight.replica.model.name == name
        ]
        if ends:
            await asyncio.wait(ends)

    def refuse_all(self) -> None:
        """Take no new work."""
        self._leaving.update(self.replicas)

    async def execute(self, model: str, inputs: Tensors, remaining_s: float) -> Outcome:
        """Admit and run one request that must end within `remaining_s` (infinite: no deadline)."""
        admission = self._admit(model, inputs, remaining_s)
        if not isinstance(admission, Flight):
            return admission
        try:
            return await asyncio.shield(admission.outcome)
        except asyncio.CancelledError:
            admission.is_wanted = False
            raise

    def _admit(self, model: str, inputs: Tensors, remaining_s: float) -> Flight | Rejected | Failed:
        replica = self.replicas.get(model)
        if replica is None:
            return Failed(Failure.NOT_LOADED, f"group {self.name} does not hold model {model!r}")
        if model in self._leaving:
            return Failed(Failure.DRAINING, f"model {model!r} is leaving group {self.name}")
        try:
            activation = self._executor.prepare(model, inputs)
        except InvalidInput as error:
            return Failed(Failure.INVALID_INPUT, str(error))
        now_s = monotonic()
        finish_s = self.clocks.predicted_end(replica, now_s) + replica.request_overhead_s
        queue_full = len(self.clocks.flights) >= self._queue_limit
        if queue_full or not schedule.admits(finish_s, now_s, remaining_s):
            return Rejected(finish_s - now_s, queue_full)
        flight = Flight(replica, activation, now_s, now_s + remaining_s, finish_s - now_s)
        self.clocks.admit(flight, now_s)
        self._waiting[0].put_nowait(flight)
        self.num_events += 1
        return flight

    async def _run_stage(self, stage: int) -> None:
        while True:
            flight = await self._waiting[stage].get()
            began_s = monotonic()
            if not flight.is_wanted or flight.is_doomed(began_s):
                late = f"the deadline cannot be kept any more at stage {stage}"
                self._end(flight, Failed(Failure.DEADLINE_PASSED, late, stage > 0))
                continue
            self.clocks.stage_began(flight, began_s)
            try:
                activation = await self._executor.run_stage(flight.replica.model.name, stage, flight.activation)
            except Exception:
                self.clocks.stage_ended(flight, monotonic())
                self._break(flight, stage)
                continue
            flight.activation = activation
            now_s = monotonic()
            flight.execution_time_s += now_s - began_s
            self.clocks.stage_ended(flight, now_s)
            self.num_events += 1
            self._advance(flight)

    def _advance(self, flight: Flight) -> None:
        if flight.stage < self.clocks.num_stages:
            self._waiting[flight.stage].put_nowait(flight)
            return
        time_here_s = monotonic() - flight.arrival_s
        try:
            outputs = self._executor.collect(flight.replica.model.name, flight.activation)
        except Exception:
            self._break(flight, flight.stage - 1)
            return
        queue_time_s = max(0.0, time_here_s - flight.execution_time_s)
        self._end(flight, Served(outputs, queue_time_s, flight.execution_time_s, flight.predicted_s))

    def _break(self, flight: Flight, stage: int) -> None:
        """A bug ends its own request only."""
        log.exception("stage_failed", group=self.name, stage=stage, model=flight.replica.model.name)
        self._end(flight, Failed(Failure.INTERNAL, "internal error", True))

    def _end(self, flight: Flight, outcome: Outcome) -> None:
        self.clocks.left(flight)
        self.num_events += 1
        flight.end(outcome)
