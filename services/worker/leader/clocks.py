"""Stage clocks of a group: the rule's prediction, corrected by what really happened."""

from services.core import schedule
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Flight
from services.worker.leader.pace import Pace


class StageClocks:
    """When each stage will be free of all that was admitted, in monotonic seconds.

    `flights` are kept in admission order, which is the order in which every stage takes them.
    """

    def __init__(self, num_stages: int) -> None:
        self.num_stages = num_stages
        self.flights: dict[int, Flight] = {}
        self._idle_since = [0.0] * num_stages
        self._free_at = [0.0] * num_stages
        self._is_stale = False
        self._pace = Pace()

    def predicted_end(self, replica: Replica, now_s: float) -> float:
        """When a request that is admitted now would leave the last stage."""
        latency_s = self._latency_s(replica, now_s)
        return schedule.last_stage_end(now_s, self.free_at(now_s), latency_s, 0, self.num_stages)

    def free_at(self, now_s: float) -> list[float]:
        """The clocks (num_stages,), brought up to date."""
        if self._is_stale:
            self._free_at = self._recomputed(now_s)
            self._is_stale = False
        return self._free_at

    def admit(self, flight: Flight, now_s: float) -> None:
        latency_s = self._latency_s(flight.replica, now_s)
        schedule.commit(now_s, self.free_at(now_s), latency_s, 0, self.num_stages)
        self.flights[id(flight)] = flight

    def stage_began(self, flight: Flight, now_s: float) -> None:
        flight.started_s = now_s
        self._is_stale = True

    def stage_ended(self, flight: Flight, now_s: float) -> None:
        if flight.started_s is not None:
            self._pace.note(now_s - flight.started_s, flight.replica.stage_latency_s[flight.stage], now_s)
        self._idle_since[flight.stage] = now_s
        flight.stage += 1
        flight.started_s = None
        self._is_stale = True

    def left(self, flight: Flight) -> None:
        """The flight is over, wherever it was."""
        self.flights.pop(id(flight), None)
        self._is_stale = True

    def _recomputed(self, now_s: float) -> list[float]:
        free_at = list(self._idle_since)
        for flight in self.flights.values():
            latency_s = self._latency_s(flight.replica, now_s)
            t, begin = now_s, flight.stage
            if flight.started_s is not None:
                t = max(now_s, flight.started_s + latency_s[begin])
                free_at[begin] = t
                begin += 1
            schedule.commit(t, free_at, latency_s, begin, self.num_stages)
        return free_at

    def _latency_s(self, replica: Replica, now_s: float) -> list[float]:
        """A model's stage latencies at the pace of late."""
        factor = self._pace.factor(now_s)
        return [factor * latency_s for latency_s in replica.stage_latency_s]
