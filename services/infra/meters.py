"""What is counted on a request's path: plain numbers, which become Prometheus' families when somebody asks.

The client's own counters take a lock for every observation, some microseconds; these are for one writing thread.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from prometheus_client.core import HistogramMetricFamily

# Upper bounds in seconds, for SLOs from 10 ms to a minute: steps of a third up to a second, then wider ones.
LATENCY_BOUNDS_S = (
    *(0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.013, 0.018, 0.024, 0.032, 0.042, 0.056, 0.075, 0.1),
    *(0.13, 0.18, 0.24, 0.32, 0.42, 0.56, 0.75, 1.0, 1.8, 3.2, 5.6, 10.0, 18.0, 32.0, 60.0),
)
QUEUE_BOUNDS_S = (0.0005, *LATENCY_BOUNDS_S)
# Symmetric about a perfect prediction.
ERROR_BOUNDS_S = (
    *(-10.0, -3.0, -1.0, -0.3, -0.1, -0.03, -0.01, -0.003, -0.001, 0.0),
    *(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
)


class Distribution:
    """Values by the bucket that they fall in; one at a bound is below it."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float], counts: Sequence[int] = (), total: float = 0.0) -> None:
        """Empty, or with `counts` (num_bounds + 1,), not cumulative, and the sum of their values."""
        self._bounds = bounds
        self.counts = list(counts) or [0] * (len(bounds) + 1)
        self.total = total

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        cumulative, below = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self.counts, strict=True):
            below += count
            cumulative.append((bound, float(below)))
        return cumulative


def histogram(name: str, about: str, label: str, distributions: Mapping[str, Distribution]) -> HistogramMetricFamily:
    """A family with one histogram for each value of a label. With bounds below zero the client leaves out sum and
    count: such a sum may fall, and the last bucket has the count."""
    family = HistogramMetricFamily(name, about, labels=[label])
    for value, distribution in distributions.items():
        # A request may come in between: buckets and sum may differ by it, as Prometheus allows.
        family.add_metric([value], distribution.buckets(), distribution.total)
    return family
