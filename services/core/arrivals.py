"""Arrival processes: Poisson, Gamma, even and Markov-modulated, from rates, from counts, or fitted to a trace.

Every model draws from its own generator, seeded with `seed` plus its place, so that adding a model
leaves the others' arrivals alone (AlpaServe, section 6.1; windows as in its end-to-end workloads).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.core.errors import InvalidWorkload
from services.core.workload import Workload, workload_from_arrivals

# A fit to few, bunched arrivals can name any rate: beyond this multiple the empirical one holds.
_MAX_RATE_MULTIPLE = 5.0
# Beyond these a Gamma's shape or scale is no number to draw from.
_MIN_CV, _MAX_CV = 1e-3, 100.0
_MAX_EXPONENT = 30.0


def gamma_arrivals(rate_per_s: float, cv: float, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrivals in [0, duration_s) with Gamma gaps: shape 1/cv², scale cv²/rate; cv 0 is even."""
    for name, value in (("rate_per_s", rate_per_s), ("cv", cv), ("duration_s", duration_s)):
        if not (math.isfinite(value) and value >= 0):
            raise InvalidWorkload(f"{name} must be finite and not negative, got {value!r}")
    if cv == 0:
        return even_arrivals(rate_per_s, duration_s)
    if not _MIN_CV <= cv <= _MAX_CV:
        raise InvalidWorkload(f"cv must be 0 or from {_MIN_CV} to {_MAX_CV}, got {cv!r}")
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


def markov_arrivals(
    rates_per_s: Sequence[float], sojourns_s: Sequence[float], duration_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Poisson arrivals in [0, duration_s) whose rate is that of a hidden state.

    The process stays in state k for an exponential time of mean `sojourns_s[k]` and goes on to any
    other state with equal chance: with two states, on and off in turn. It starts in its steady state.
    """
    rate, sojourn = np.asarray(rates_per_s, dtype=np.float64), np.asarray(sojourns_s, dtype=np.float64)
    if len(rate) < 2 or len(rate) != len(sojourn):
        raise InvalidWorkload(f"give two or more states, a rate and a sojourn each: {len(rate)} and {len(sojourn)}")
    if not (np.isfinite(rate).all() and (rate >= 0).all() and math.isfinite(duration_s) and duration_s >= 0):
        raise InvalidWorkload(f"rates must not be negative, got {rate.tolist()} for {duration_s!r} s")
    if not (np.isfinite(sojourn).all() and (sojourn > 0).all()):
        raise InvalidWorkload(f"sojourns must be positive, got {sojourn.tolist()}")
    state, begin_s, end_s = _sojourns(sojourn, duration_s, rng)
    num_of = rng.poisson(rate[state] * (end_s - begin_s))
    own = np.repeat(np.arange(len(state)), num_of)
    return np.sort(begin_s[own] + rng.random(len(own)) * (end_s - begin_s)[own])


def _sojourns(
    sojourn_s: NDArray[np.float64], duration_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """State, begin and end of each stay in [0, duration_s), (num_stays,) each."""
    num_states = len(sojourn_s)
    states = [np.array([rng.choice(num_states, p=sojourn_s / sojourn_s.sum())])]
    lengths = [rng.exponential(sojourn_s[states[0]])]
    while (covered_s := sum(float(part.sum()) for part in lengths)) < duration_s:
        num_more = int(1.1 * (duration_s - covered_s) / float(sojourn_s.mean())) + 16
        steps = rng.integers(1, num_states, num_more)
        states.append((states[-1][-1] + np.cumsum(steps)) % num_states)
        lengths.append(rng.exponential(sojourn_s[states[-1]]))
    ends = np.minimum(np.cumsum(np.concatenate(lengths)), duration_s)
    begins = np.concatenate([[0.0], ends[:-1]])
    return np.concatenate(states).astype(np.int64), begins, ends


def weighted_rates(total_per_s: float, weights: ArrayLike) -> NDArray[np.float64]:
    """Rates (num_models,) in proportion to `weights` that sum to `total_per_s`.

    The requests per model of a trace are such weights, `[1] * n` an even split.
    """
    weight = np.asarray(weights, dtype=np.float64)
    if not (math.isfinite(total_per_s) and total_per_s >= 0):
        raise InvalidWorkload(f"a rate must be finite and not negative, got {total_per_s!r}")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise InvalidWorkload(f"weights must not be negative nor all 0, got {weight.tolist()}")
    share: NDArray[np.float64] = weight / weight.sum()
    return total_per_s * share


def power_law_rates(total_per_s: float, num_models: int, exponent: float = -0.5) -> NDArray[np.float64]:
    """Rates (num_models,) proportional to (i + 1)^exponent that sum to `total_per_s`."""
    if not abs(exponent) <= _MAX_EXPONENT:
        raise InvalidWorkload(f"an exponent must lie within ±{_MAX_EXPONENT:g}, got {exponent!r}")
    return weighted_rates(total_per_s, np.arange(1, num_models + 1, dtype=np.float64) ** exponent)


def gamma_workload(rates_per_s: Mapping[str, float], cv: float, duration_s: float, seed: int) -> Workload:
    """Independent Gamma arrivals of every model."""
    return workload_from_arrivals(
        {
            name: gamma_arrivals(rate, cv, duration_s, np.random.default_rng(seed + i))
            for i, (name, rate) in enumerate(rates_per_s.items())
        }
    )


def markov_workload(
    rates_per_s: Mapping[str, float],
    levels: Sequence[float],
    sojourns_s: Sequence[float],
    duration_s: float,
    seed: int,
) -> Workload:
    """Independent Markov-modulated arrivals of every model, `rates_per_s` being their means over time.

    In state k a model has `levels[k]` parts of its rate: on and off are levels 1 and 0.
    """
    level, sojourn = np.asarray(levels, dtype=np.float64), np.asarray(sojourns_s, dtype=np.float64)
    if len(level) != len(sojourn) or not (np.isfinite(level).all() and level @ sojourn > 0):
        raise InvalidWorkload(f"levels and sojourns mean no process: {level.tolist()} and {sojourn.tolist()}")
    per_rate = level * sojourn.sum() / (level @ sojourn)
    return workload_from_arrivals(
        {
            name: markov_arrivals(tuple(rate * per_rate), sojourns_s, duration_s, np.random.default_rng(seed + i))
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
    """Gamma arrivals whose rate follows the counts: count / bucket_s · rate_scale in each bucket.

    Every bucket begins a process of its own, as in the paper: where the CV is above 1, which begins
    with a burst, a bucket gets up to (CV² − 1) / 2 requests more than its rate says.
    """
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
    Raises: InvalidWorkload for a window or a scale that means nothing.
    """
    for what, value in (("window_s", window_s), ("rate_scale", rate_scale), ("cv_scale", cv_scale)):
        if not (math.isfinite(value) and value >= 0) or (what == "window_s" and value == 0):
            raise InvalidWorkload(f"{what} must be finite and positive, got {value!r}")
    num_windows = int(workload.arrival_s[-1] // window_s) + 1 if len(workload) else 0
    arrivals = {}
    for i, (name, own) in enumerate(zip(workload.names, workload.arrivals_of_each, strict=True)):
        rng = np.random.default_rng(seed + i)
        edges = np.searchsorted(own, np.arange(num_windows + 1) * window_s)
        parts = [np.empty(0)]
        for window in range(num_windows):
            seen = own[edges[window] : edges[window + 1]]
            rate, cv = _fitted(seen, window_s)
            scaled_cv = cv * cv_scale
            if scaled_cv > 0:
                # The gaps of a timer vary so little that they have no Gamma.
                scaled_cv = min(max(scaled_cv, _MIN_CV), _MAX_CV)
            parts.append(window * window_s + gamma_arrivals(rate * rate_scale, scaled_cv, window_s, rng))
        arrivals[name] = np.concatenate(parts)
    return workload_from_arrivals(arrivals)


def _fitted(seen_s: NDArray[np.float64], window_s: float) -> tuple[float, float]:
    empirical = len(seen_s) / window_s
    if len(seen_s) < 3 or seen_s[-1] <= seen_s[0]:
        return empirical, 1.0
    rate, cv = fit_gamma(seen_s)
    return (rate if rate <= _MAX_RATE_MULTIPLE * empirical else empirical), cv
