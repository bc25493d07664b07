"""A group's queue: one first-in-first-out line per model, and what is taken off it next."""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from math import ceil

from services.core.batching import batch_size
from services.core.schedule import Seconds
from services.worker.leader.costs import Costs, costs_of
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Flight

# Slowed costs are made once for every step of so much.
PACE_STEP = 1 / 32


@dataclass(slots=True, eq=False)
class Line:
    """The requests of one model that wait, by number, and what batches of them cost at a pace."""

    replica: Replica
    profiled: Costs
    costs: Costs
    factor: float = 1.0
    waiting: OrderedDict[int, Flight] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def head(self) -> Flight:
        """The first that waits, if any does."""
        return next(iter(self.waiting.values()))

    def keep_pace(self, factor: float) -> None:
        """Count costs at `factor` times the profile's."""
        if factor != self.factor:
            self.factor = factor
            self.costs = self.profiled if factor == 1.0 else self.profiled.slowed(factor)

    def take(self, count: int) -> tuple[Flight, ...]:
        return tuple(self.waiting.popitem(last=False)[1] for _ in range(count))


class Lines:
    """The lines of all models that a group holds."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self.num_waiting = 0
        self.factor = 1.0

    def __getitem__(self, model: str) -> Line:
        return self._lines[model]

    def serve(self, replica: Replica) -> None:
        """Have a line for the model, from now on at these costs."""
        line = Line(replica, costs := costs_of(replica), costs)
        line.keep_pace(self.factor)
        known = self._lines.get(replica.model.name)
        if known is not None:
            line.waiting = known.waiting
        self._lines[replica.model.name] = line

    def forget(self, model: str) -> None:
        """Have no line for the model, in which nothing waits any more."""
        self._lines.pop(model, None)

    def keep_pace(self, ratio: float) -> bool:
        """Count costs at `ratio` times the profile's, or up to a step more; returns whether that is new."""
        factor = 1.0 if ratio == 1.0 else ceil(ratio / PACE_STEP) * PACE_STEP
        if factor == self.factor:
            return False
        self.factor = factor
        for line in self._lines.values():
            line.keep_pace(factor)
        return True

    def append(self, flight: Flight) -> None:
        self._lines[flight.model].waiting[flight.number] = flight
        self.num_waiting += 1

    def remove(self, flight: Flight) -> bool:
        """Take a request out of the middle; returns whether it was there."""
        line = self._lines.get(flight.model)
        if line is None or line.waiting.pop(flight.number, None) is None:
            return False
        self.num_waiting -= 1
        return True

    def take(self, line: Line, count: int) -> tuple[Flight, ...]:
        self.num_waiting -= count
        return line.take(count)

    def earliest(self, other_than: Line | None = None) -> Line | None:
        """The line whose head was admitted first; none if all are empty."""
        lines = (line for line in self._lines.values() if line.waiting and line is not other_than)
        return min(lines, key=lambda line: line.head.number, default=None)


def chosen_size(now_s: float, free_at: Seconds, line: Line, rival: Line | None) -> int:
    """The batch to take off a line, as an index into its sizes; -1 to drop its head. `rival` is the
    line with the next head of another model, None without one or if it cannot matter."""
    costs, num_stages = line.costs, len(line.replica.stage_latency_s)
    members = list(islice(line.waiting.values(), costs.sizes[-1]))
    overhead_s = line.replica.request_overhead_s
    arrival_s = [flight.arrival_s for flight in members]
    allowed_s = [flight.allowed_s for flight in members]
    if rival is not None:
        arrival_s.append(rival.head.arrival_s)
        # The rule knows one overhead: what the rival's is more is taken off its time.
        allowed_s.append(rival.head.allowed_s - (rival.replica.request_overhead_s - overhead_s))
    return batch_size(
        now_s,
        overhead_s,
        0,
        len(members),
        costs.sizes,
        costs.latency,
        -1 if rival is None else len(members),
        (costs if rival is None else rival.costs).latency[0],
        range(1, len(members) + 1),
        arrival_s,
        allowed_s,
        free_at,
        0,
        num_stages,
    )
