"""Estimates held against measurements: how far the cost model is off, and its figures brought to the measured level."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2

from services.core.profile import StageProfile

UNCHECKED = "the cost model's, with nothing measured to hold it against"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One config and batch size, by the clock and by the cost model with the same cut."""

    measured: StageProfile
    estimated: StageProfile

    @property
    def ratio(self) -> float:
        """Measured over estimated latency."""
        return self.measured.latency_s / self.estimated.latency_s

    @property
    def error(self) -> float:
        """|estimated / measured - 1|."""
        return abs(self.estimated.latency_s / self.measured.latency_s - 1)

    def distance(self, other: StageProfile) -> float:
        """Doublings of stages, of devices per stage and of the batch between this and another entry."""
        mine, its = self.measured.config, other.config
        return (
            abs(log2(mine.inter_op / its.inter_op))
            + abs(log2(mine.intra_op / its.intra_op))
            + abs(log2(self.measured.batch_size / other.batch_size))
        )


def corrected(estimate: StageProfile, comparisons: Sequence[Comparison]) -> StageProfile:
    """The estimate times measured over estimated latency at the nearest measured entry (the first of those that are
    equally near); its note says so, and the median error over all that was measured."""
    if not comparisons:
        return replace(estimate, note=_joined(UNCHECKED, estimate.note))
    nearest = min(comparisons, key=lambda comparison: comparison.distance(estimate))
    error = statistics.median(comparison.error for comparison in comparisons)
    at = f"{nearest.measured.config} batch {nearest.measured.batch_size}"
    note = (
        f"the cost model's, times {nearest.ratio:.3f}: measured over estimated at {at}; "
        f"its median error over the {len(comparisons)} measured entries of the model is {error:.1%}"
    )
    latency_s = tuple(nearest.ratio * latency for latency in estimate.stage_latency_s)
    return replace(estimate, stage_latency_s=latency_s, note=_joined(note, estimate.note))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
