"""What a controller sees: arrivals per model in buckets of time, up to now."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.arrivals import workload_from_counts
from services.core.burstiness import statistics
from services.core.errors import InvalidWorkload
from services.core.workload import Workload

RECENT_BUCKET_S = 1.0
HISTORY_BUCKET_S = 300.0
# A model's own gaps count as much as this many gaps of all models' in its CV.
_POOLED_GAPS = 30


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalCounts:
    """Arrivals in buckets of `bucket_s`: `counts` (num_models, num_buckets), the oldest first."""

    bucket_s: float
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bucket_s) and self.bucket_s > 0):
            raise InvalidWorkload(f"a bucket must have a length, got {self.bucket_s!r} s")
        if self.counts.ndim != 2:
            raise InvalidWorkload(f"counts must be (num_models, num_buckets), got {self.counts.shape}")
        if (self.counts < 0).any():
            raise InvalidWorkload(f"a count is negative: {int(self.counts.min())}")

    @property
    def num_buckets(self) -> int:
        return int(self.counts.shape[1])

    @property
    def span_s(self) -> float:
        return self.num_buckets * self.bucket_s

    @property
    def rates_per_s(self) -> NDArray[np.float64]:
        """Mean rate of each model, (num_models,); 0 without any bucket."""
        totals: NDArray[np.float64] = self.counts.sum(axis=1) / max(self.span_s, self.bucket_s)
        return totals

    def latest(self, span_s: float) -> "ArrivalCounts":
        """The last buckets that lie within `span_s`, one at least."""
        num_kept = max(math.floor(span_s / self.bucket_s + 1e-9), 1)
        return ArrivalCounts(self.bucket_s, self.counts[:, -num_kept:])

    def summed(self, bucket_s: float) -> "ArrivalCounts":
        """In longer buckets, which end with the last; what is left at the beginning is dropped.

        Raises: InvalidWorkload for a length that is no multiple.
        """
        factor = round(bucket_s / self.bucket_s)
        if factor < 1 or not math.isclose(factor * self.bucket_s, bucket_s):
            raise InvalidWorkload(f"buckets of {bucket_s!r} s are no multiple of {self.bucket_s!r} s")
        num_models, num_buckets = self.counts.shape
        num_summed = num_buckets // factor
        kept = self.counts[:, num_buckets - num_summed * factor :]
        return ArrivalCounts(bucket_s, kept.reshape(num_models, num_summed, factor).sum(axis=2))


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """The traffic of models `names` up to `now_s`: the `recent` minutes in short buckets, and `history`
    in long ones as far back as it is known. Both end now."""

    names: tuple[str, ...]
    now_s: float
    recent: ArrivalCounts
    history: ArrivalCounts

    def __post_init__(self) -> None:
        for what, own in (("recent", self.recent), ("history", self.history)):
            if len(own.counts) != len(self.names):
                raise InvalidWorkload(f"{what} counts {len(own.counts)} models, there are {len(self.names)}")

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        now_s: float,
        counts: Mapping[str, NDArray[np.int64]],
        bucket_s: float = RECENT_BUCKET_S,
        history: ArrivalCounts | None = None,
    ) -> "Observation":
        """Of counts (num_buckets,) by name; a model that is not among them is silent, others than `names`
        are left out. Without `history` the counts themselves are all that is known.

        Raises: InvalidWorkload for rows that differ in length.
        """
        lengths = {len(row) for row in counts.values()}
        if len(lengths) > 1:
            raise InvalidWorkload(f"counts of different lengths: {sorted(lengths)}")
        silent = np.zeros(max(lengths, default=1), dtype=np.int64)
        rows = [np.asarray(counts.get(name, silent), dtype=np.int64) for name in names]
        recent = ArrivalCounts(bucket_s, np.stack(rows) if rows else np.empty((0, len(silent)), np.int64))
        return cls(tuple(names), now_s, recent, history or recent.summed(HISTORY_BUCKET_S))

    @property
    def num_requests(self) -> int:
        """Recent ones."""
        return int(self.recent.counts.sum())

    def latest(self, span_s: float) -> "Observation":
        """With only so much of the recent traffic."""
        return Observation(self.names, self.now_s, self.recent.latest(span_s), self.history)

    def workload(self, seed: int) -> Workload:
        """The recent arrivals, each at a random instant of its bucket."""
        rows = dict(zip(self.names, self.recent.counts, strict=True))
        return workload_from_counts(rows, self.recent.bucket_s, seed)

    def gap_cvs(self, seed: int = 0) -> NDArray[np.float64]:
        """The CV of each model's recent gaps, (num_models,); that of all of them where it has few."""
        workload = self.workload(seed)
        found = statistics(workload, ()).models.values()
        num_gaps = np.array([max(own.num_requests - 1, 0) if own.cv is not None else 0 for own in found])
        squared = np.array([0.0 if own.cv is None else own.cv**2 for own in found])
        pooled = float(num_gaps @ squared) / float(num_gaps.sum()) if num_gaps.any() else 1.0
        cvs: NDArray[np.float64] = np.sqrt((num_gaps * squared + _POOLED_GAPS * pooled) / (num_gaps + _POOLED_GAPS))
        return cvs
