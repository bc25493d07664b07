"""What a replica's batches cost, in the tables that the batching rule takes."""

from dataclasses import dataclass

import numpy as np

from services.core.drain import drain_tables
from services.worker.leader.executor import Replica

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Costs:
    """One replica's `sizes`, `latency`, `drain` and `last` as `services.core.batching` describes them."""

    sizes: tuple[int, ...]
    latency: Rows
    drain: Rows
    last: Rows

    def slowed(self, factor: float) -> "Costs":
        """The same on devices that take `factor` times as long."""
        return Costs(self.sizes, *(_slowed(rows, factor) for rows in (self.latency, self.drain, self.last)))


def costs_of(replica: Replica) -> Costs:
    sizes = list(replica.batch_sizes)
    latency = tuple(replica.batch_latency_s(size) for size in sizes)
    drain, last = drain_tables(sizes, np.array([latency]))
    return Costs(replica.batch_sizes, latency, _rows(drain[0].tolist()), _rows(last[0].tolist()))


def _rows(rows: list[list[float]]) -> Rows:
    return tuple(map(tuple, rows))


def _slowed(rows: Rows, factor: float) -> Rows:
    return tuple(tuple(factor * seconds for seconds in row) for row in rows)
