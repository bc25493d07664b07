"""What is counted on a request's path: plain numbers, which become Prometheus' families when somebody asks.

The client's own counters take a lock for every observation, some microseconds; these are for one writing thread.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from prometheus_client.core import HistogramMetricFamily

# Upper bounds in seconds, for SLOs from 10 ms to a minute: eight a decade of the short ones, four of the long.
LATENCY_BOUNDS_S = (
    *(0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.013, 0.018, 0.024, 0.032, 0.042, 0.056, 0.075, 0.1),
    *(0.13, 0.18, 0.24, 0.32, 0.42, 0.56, 0.75, 1.0, 1.8, 3.2, 5.6, 10.0, 18.0, 32.0, 60.0),
)
# Symmetric about a perfect prediction.
ERROR_BOUNDS_S = (
    *(-10.0, -1.0, -0.3, -0.1, -0.03, -0.01, -0.003, -0.001, 0.0),
    *(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0),
)


class Distribution:
    """Values by the bucket that they fall in; one at a bound is below it."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def counts(self) -> tuple[int, ...]:
        """(num_bounds + 1,), not cumulative."""
        return tuple(self._counts)

    def add(self, counts: Sequence[int], total: float) -> None:
        """Take over what another process counted by the same bounds."""
        self._counts = [own + other for own, other in zip(self._counts, counts, strict=True)]
        self._sum += total

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by upper bound, as Prometheus wants them, and the sum of all values."""
        cumulative, below = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            cumulative.append((bound, float(below)))
        return cumulative, self._sum


def histogram(name: str, about: str, label: str, distributions: Mapping[str, Distribution]) -> HistogramMetricFamily:
    """A family with one histogram for each value of a label."""
    family = HistogramMetricFamily(name, about, labels=[label])
    for value, distribution in distributions.items():
        buckets, total = distribution.buckets()
        family.add_metric([value], buckets, total)
    return family
