"""Arrival processes: Poisson, Gamma and even arrivals, from rates, from counts, or fitted to a trace.

Every model draws from its own generator, seeded with `seed` plus its place, so that adding a model
leaves the others' arrivals alone (AlpaServe, section 6.1; windows as in its end-to-end workloads).
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload
from services.core.workload import Workload, workload_from_arrivals

# A fit to few, bunched arrivals can name any rate: beyond this multiple the empirical one holds.
_MAX_RATE_MULTIPLE = 5.0


def gamma_arrivals(rate_per_s: float, cv: float, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrivals in [0, duration_s) with Gamma gaps: shape 1/cv², scale cv²/rate; cv 0 is even."""
    for name, value in (("rate_per_s", rate_per_s), ("cv", cv), ("duration_s", duration_s)):
        if not (math.isfinite(value) and value >= 0):
            raise InvalidWorkload(f"{name} must be finite and not negative, got {value!r}")
    if cv == 0:
        return even_arrivals(rate_per_s, duration_s)
    arrivals = [np.empty(0)]
    now_s = 0.0
    while rate_per_s > 0 and now_s < duration_s:
        expected = rate_per_s * (duration_s - now_s)
        num_gaps = int(expected + 3 * cv * math.sqrt(expected)) + 16
        drawn_s = now_s + np.cumsum(rng.gamma(1 / cv**2, cv**2 / rate_per_s, num_gaps))
        arrivals.append(drawn_s)
        now_s = float(drawn_s[-1])
    arrival_s = np.concatenate(arrivals)
    return arrival_s[arrival_s < duration_s]


def poisson_arrivals(rate_per_s: float, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrivals in [0, duration_s) with exponential gaps."""
    return gamma_arrivals(rate_per_s, 1.0, duration_s, rng)


def even_arrivals(rate_per_s: float, duration_s: float) -> NDArray[np.float64]:
    """Arrivals at 0, 1/rate, 2/rate, … before `duration_s`."""
    if rate_per_s <= 0:
        return np.empty(0)
    arrival_s = np.arange(math.ceil(rate_per_s * duration_s)) / rate_per_s
    return arrival_s[arrival_s < duration_s]


def power_law_rates(total_per_s: float, num_models: int, exponent: float = -0.5) -> NDArray[np.float64]:
    """Rates (num_models,) proportional to (i + 1)^exponent that sum to `total_per_s`."""
    weight = np.arange(1, num_models + 1, dtype=np.float64) ** exponent
    share: NDArray[np.float64] = weight / weight.sum()
    return total_per_s * share


def gamma_workload(rates_per_s: Mapping[str, float], cv: float, duration_s: float, seed: int) -> Workload:
    """Independent Gamma arrivals of every model."""
    return workload_from_arrivals(
        {
            name: gamma_arrivals(rate, cv, duration_s, np.random.default_rng(seed + i))
            for i, (name, rate) in enumerate(rates_per_s.items())
        }
    )


def workload_from_counts(counts: Mapping[str, NDArray[np.int64]], bucket_s: float, seed: int) -> Workload:
    """Counts (num_buckets,) per model as arrivals, each at a random instant of its bucket."""
    arrivals = {}
    for i, (name, row) in enumerate(counts.items()):
        own = np.asarray(row, dtype=np.int64)
        if (own < 0).any():
            raise InvalidWorkload(f"model {name!r} has a negative count: {int(own.min())}")
        bucket = np.repeat(np.arange(len(own)), own)
        offset = np.random.default_rng(seed + i).random(len(bucket))
        arrivals[name] = np.sort((bucket + offset) * bucket_s)
    return workload_from_arrivals(arrivals)


def gamma_workload_from_counts(
    counts: Mapping[str, NDArray[np.int64]], bucket_s: float, rate_scale: float, cv: float, seed: int
) -> Workload:
    """Gamma arrivals whose rate follows the counts: count / bucket_s · rate_scale in each bucket."""
    arrivals = {}
    for i, (name, row) in enumerate(counts.items()):
        rng = np.random.default_rng(seed + i)
        parts = [
            bucket * bucket_s + gamma_arrivals(float(count) / bucket_s * rate_scale, cv, bucket_s, rng)
            for bucket, count in enumerate(row)
        ]
        arrivals[name] = np.concatenate([np.empty(0), *parts])
    return workload_from_arrivals(arrivals)


def fit_gamma(arrival_s: NDArray[np.float64]) -> tuple[float, float]:
    """(rate_per_s, cv) of arrivals by the moments of their gaps; at least two different instants."""
    gaps = np.diff(arrival_s)
    mean = float(gaps.mean())
    return 1 / mean, float(gaps.std()) / mean


def refitted_workload(workload: Workload, window_s: float, rate_scale: float, cv_scale: float, seed: int) -> Workload:
    """Arrivals drawn anew: a Gamma process is fitted to each model in each window, then scaled.

    A model with fewer than three arrivals in a window keeps its empirical rate, at cv 1.
    """
    num_windows = int(workload.arrival_s[-1] // window_s) + 1 if len(workload) else 0
    arrivals = {}
    for i, name in enumerate(workload.names):
        rng = np.random.default_rng(seed + i)
        own = workload.arrival_s[workload.model == i]
        edges = np.searchsorted(own, np.arange(num_windows + 1) * window_s)
        parts = [np.empty(0)]
        for window in range(num_windows):
            seen = own[edges[window] : edges[window + 1]]
            rate, cv = _fitted(seen, window_s)
            parts.append(window * window_s + gamma_arrivals(rate * rate_scale, cv * cv_scale, window_s, rng))
        arrivals[name] = np.concatenate(parts)
    return workload_from_arrivals(arrivals)


def _fitted(seen_s: NDArray[np.float64], window_s: float) -> tuple[float, float]:
    empirical = len(seen_s) / window_s
    if len(seen_s) < 3 or seen_s[-1] <= seen_s[0]:
        return empirical, 1.0
    rate, cv = fit_gamma(seen_s)
    return (rate if rate <= _MAX_RATE_MULTIPLE * empirical else empirical), cv
