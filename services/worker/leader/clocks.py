"""Stage clocks of a group and the queue before them: the rule's own, corrected by what really happened."""

from itertools import count

from services.core import batching, schedule
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Batch, Flight, StageRun
from services.worker.leader.lines import Line, Lines, chosen_size
from services.worker.leader.pace import Pace

# With n requests in question, the clocks are corrected after every (n / 8)th event: exact where few are, and
# for many at no more than some tens of microseconds an event.
CORRECTED_SHARE = 8


class StageClocks:
    """When each stage will be free, in monotonic seconds: of what has begun, and as planned, of all
    that was admitted. Both are advanced as `batch_kernel` does, and while the devices keep time they are
    what it computes, bit for bit.

    `flights` are all requests that were admitted and have not ended, by number.
    """

    def __init__(self, num_stages: int) -> None:
        self.num_stages = num_stages
        self.flights: dict[int, Flight] = {}
        self._lines = Lines()
        self._begun: dict[int, Batch] = {}
        self._numbers = count()
        self._idle_since = [0.0] * num_stages
        self._free_at = [0.0] * num_stages
        self._planned = [0.0] * num_stages
        self._num_unseen = 0
        self._num_unplanned = 0
        self._corrected_s = 0.0
        self._pace = Pace()
        self._busy_s = [0.0] * num_stages
        self._told_busy_s = [0.0] * num_stages

    def serve(self, replica: Replica) -> None:
        """Predict with this replica from now on."""
        self._lines.serve(replica)
        self._num_unplanned += 1

    def forget(self, model: str) -> None:
        """Nothing of the model is in flight, and nothing will be."""
        self._lines.forget(model)

    @property
    def num_waiting(self) -> int:
        """Requests that have not begun."""
        return self._lines.num_waiting

    def predicted_end(self, model: str, now_s: float) -> float:
        """When a request that is admitted now is to leave the last stage."""
        self._correct(now_s)
        line = self._lines[model]
        drain, last = line.costs.drain, line.costs.last
        return batching.planned_end(now_s, self._planned, len(line), drain, last, 0, self.num_stages)

    def planned(self, now_s: float) -> list[float]:
        """When each stage will be free of all that was admitted (num_stages,), brought up to date."""
        self._correct(now_s)
        return self._planned

    def admit(self, flight: Flight, now_s: float) -> None:
        """Put a request at the end of its line."""
        self._correct(now_s)
        flight.number = next(self._numbers)
        self._join(self._lines[flight.model], len(self._lines[flight.model]), now_s)
        self._lines.append(flight)
        self.flights[flight.number] = flight

    def begin(self, now_s: float) -> tuple[Batch | None, list[Flight]]:
        """Stage 0 is idle: send the batch that the rule chooses into it, none if nothing waits. Returns as
        well the heads that were dropped, because they cannot keep their deadlines even alone."""
        if not self._lines.num_waiting:
            return None, []
        self._correct(now_s)
        self._free_at[0] = min(self._free_at[0], now_s)
        batch: Batch | None = None
        dropped: list[Flight] = []
        while batch is None and (line := self._lines.earliest()) is not None:
            rival = self._lines.earliest(other_than=line) if len(line) > 1 else None
            chosen = chosen_size(now_s, self._free_at, line, rival)
            members = self._taken(line, chosen, now_s)
            if chosen < 0:
                dropped += members
            else:
                batch = self._begun_batch(line.replica, members, now_s)
        if not self._lines.num_waiting:
            self._planned = list(self._free_at)
        return batch, dropped

    def stage_began(self, batch: Batch, now_s: float) -> None:
        batch.started_s = now_s
        self._num_unseen += 1

    def stage_ended(self, batch: Batch, now_s: float) -> None:
        if batch.started_s is not None:
            time_here_s, profiled_s = now_s - batch.started_s, batch.latency_s[batch.stage]
            batch.execution_time_s += time_here_s
            self._busy_s[batch.stage] += time_here_s
            batch.runs.append(StageRun(batch.started_s, now_s, profiled_s))
            self._pace.note(time_here_s, profiled_s, now_s)
        self._idle_since[batch.stage] = now_s
        batch.stage += 1
        batch.started_s = None
        self._num_unseen += 1

    def gone(self, batch: Batch) -> None:
        """The batch is over, wherever it was."""
        self._begun.pop(id(batch), None)
        self._num_unseen += 1

    def left(self, flight: Flight) -> None:
        """The request is over; if it was still waiting, the queue is shorter."""
        self.flights.pop(flight.number, None)
        if self._lines.remove(flight):
            line = self._lines[flight.model]
            batching.release(self._planned, len(line) + 1, len(line), line.costs.drain, 0, self.num_stages)
            self._num_unplanned += 1

    def busy_s(self, now_s: float) -> tuple[float, ...]:
        """For how long each stage has been running batches so far (num_stages,), those under way included; never less
        than it was before."""
        busy_s = list(self._busy_s)
        for batch in self._begun.values():
            if batch.started_s is not None:
                busy_s[batch.stage] += now_s - batch.started_s
        self._told_busy_s = list(map(max, self._told_busy_s, busy_s))
        return tuple(self._told_busy_s)

    def _begun_batch(self, replica: Replica, members: tuple[Flight, ...], now_s: float) -> Batch:
        latency_s = replica.batch_latency_s(len(members))
        batch = Batch(members, latency_s, tuple(member.activation for member in members), started_s=now_s)
        for member in members:
            member.has_begun = True
            member.runs = batch.runs
        self._begun[id(batch)] = batch
        return batch

    def _taken(self, line: Line, chosen: int, now_s: float) -> tuple[Flight, ...]:
        costs = line.costs
        batching.enter(
            now_s,
            self._free_at,
            self._planned,
            len(line),
            chosen,
            costs.sizes,
            costs.latency,
            costs.drain,
            0,
            self.num_stages,
        )
        return self._lines.take(line, costs.sizes[max(chosen, 0)])

    def _join(self, line: Line, num_waiting: int, now_s: float) -> None:
        costs = line.costs
        batching.join(now_s, self._planned, num_waiting, costs.drain, costs.last, 0, self.num_stages)

    def _correct(self, now_s: float) -> None:
        if now_s == self._corrected_s and not (self._num_unseen or self._num_unplanned):
            return
        self._corrected_s = now_s
        if self._lines.keep_pace(self._pace.factor(now_s)):
            self._num_unseen += 1
            self._num_unplanned += 1
        if self._num_unseen and self._num_unseen * CORRECTED_SHARE >= len(self._begun):
            self._num_unseen = 0
            free_at = self._free_of_begun(now_s)
            self._num_unplanned += free_at != self._free_at
            self._free_at = free_at
        if self._num_unplanned and self._num_unplanned * CORRECTED_SHARE >= self._lines.num_waiting:
            self._num_unplanned = 0
            self._plan_again(now_s)

    def _free_of_begun(self, now_s: float) -> list[float]:
        free_at = list(self._idle_since)
        for batch in self._begun.values():
            latency_s = [self._lines.factor * latency_s for latency_s in batch.latency_s]
            t, begin = now_s, batch.stage
            if batch.started_s is not None:
                t = max(now_s, batch.started_s + latency_s[begin])
                free_at[begin] = t
                begin += 1
            schedule.commit(t, free_at, latency_s, begin, self.num_stages)
        return free_at

    def _plan_again(self, now_s: float) -> None:
        """Let all that waits join once more, in the order of admission."""
        self._planned = list(self._free_at)
        num_waiting: dict[str, int] = {}
        for flight in self.flights.values():
            if not flight.has_begun:
                model = flight.model
                ahead = num_waiting.get(model, 0)
                self._join(self._lines[model], ahead, now_s)
                num_waiting[model] = ahead + 1
