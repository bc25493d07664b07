"""How bursty a workload is, measured and changed: the variation of its gaps, the dispersion of its counts.

The dispersion at a scale is variance over mean of the counts in windows of that length (the index of
dispersion): 1 for Poisson arrivals at any scale, 0 for even ones, up to CV² for Gamma gaps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload
from services.core.workload import Workload

# Windows from this many requests of an average model on show bursts, up to these many lulls as well.
_DEFAULT_REQUESTS = (1.0, 10.0, 100.0)
_FEWEST_WINDOWS = 10
_MOST_WINDOWS = 10_000_000
_MAX_POWER = 64.0
_BISECTIONS = 40


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """`cv` is None below three requests, a dispersion where a scale has fewer than two windows or no requests."""

    num_requests: int
    rate_per_s: float
    cv: float | None
    dispersion: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a whole workload as one stream and of each of its models; one dispersion per `scales_s`."""

    begin_s: float
    span_s: float
    scales_s: tuple[float, ...]
    total: ModelStatistics
    models: dict[str, ModelStatistics]


def statistics(workload: Workload, scales_s: Sequence[float] | None = None) -> Statistics:
    """Rates are requests over the workload's span, 0 without one.

    By default the scales are those at which an average model has 1, 10 and 100 requests, as far as ten
    windows of them fit. Raises: InvalidWorkload for a scale that is no time or far too short.
    """
    span_s = workload.span_s
    scales = _default_scales_s(workload) if scales_s is None else tuple(scales_s)
    for scale_s in scales:
        if not (math.isfinite(scale_s) and scale_s > 0 and span_s / scale_s <= _MOST_WINDOWS):
            raise InvalidWorkload(f"a scale must be positive and not far shorter than {span_s:g} s, got {scale_s!r}")
    begin_s = float(workload.arrival_s[0]) if len(workload) else 0.0
    since_s = workload.arrival_s - begin_s
    rows = (_of_stream(own - begin_s, span_s, scales) for own in workload.arrivals_of_each)
    models = dict(zip(workload.names, rows, strict=True))
    return Statistics(begin_s, span_s, scales, _of_stream(since_s, span_s, scales), models)


def _default_scales_s(workload: Workload) -> tuple[float, ...]:
    if workload.span_s == 0:
        return ()
    gap_s = workload.span_s * np.count_nonzero(workload.num_requests_of) / len(workload)
    wanted = (float(gap_s) * num for num in _DEFAULT_REQUESTS)
    return tuple(scale_s for scale_s in wanted if scale_s * _FEWEST_WINDOWS <= workload.span_s)


def _of_stream(since_s: NDArray[np.float64], span_s: float, scales_s: tuple[float, ...]) -> ModelStatistics:
    rate_per_s = len(since_s) / span_s if span_s > 0 else 0.0
    dispersion = tuple(_dispersion(since_s, span_s, scale_s) for scale_s in scales_s)
    return ModelStatistics(len(since_s), rate_per_s, _gap_cv(since_s), dispersion)


def _gap_cv(arrival_s: NDArray[np.float64]) -> float | None:
    if len(arrival_s) < 3 or arrival_s[-1] <= arrival_s[0]:
        return None
    gaps = np.diff(arrival_s)
    return float(gaps.std() / gaps.mean())


def _dispersion(since_s: NDArray[np.float64], span_s: float, scale_s: float) -> float | None:
    num_windows = int(span_s / scale_s)
    window = (since_s / scale_s).astype(np.int64)
    counts = np.bincount(window[window < num_windows], minlength=num_windows)
    if num_windows < 2 or not counts.any():
        return None
    return float(counts.var() / counts.mean())


def with_cv_scale(workload: Workload, factor: float) -> Workload:
    """The same requests with the CV of every model's gaps multiplied by `factor`.

    Long gaps grow and short ones shrink (or the other way), by a power; a model's first and last arrival
    stay. A model whose gaps cannot vary so much or so little comes as near as they can.
    Raises: InvalidWorkload for a factor that is none.
    """
    if not (math.isfinite(factor) and factor >= 0):
        raise InvalidWorkload(f"a CV scale must not be negative, got {factor!r}")
    arrivals = [_with_cv_scale(own, factor) for own in workload.arrivals_of_each]
    arrival_s = np.empty(len(workload))
    arrival_s[np.argsort(workload.model, kind="stable")] = np.concatenate([np.empty(0), *arrivals])
    order = np.argsort(arrival_s, kind="stable")
    return replace(workload, arrival_s=arrival_s[order], model=workload.model[order], slo_s=workload.slo_s[order])


def _with_cv_scale(arrival_s: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    cv = _gap_cv(arrival_s)
    if cv is None or factor == 1:
        return arrival_s
    gaps = np.diff(arrival_s)
    # Relative to the longest, so that no power overflows.
    relative = gaps / gaps.max()
    low, high = 0.0, _MAX_POWER
    for _ in range(_BISECTIONS):
        power = (low + high) / 2
        stretched = relative**power
        if stretched.std() < factor * cv * stretched.mean():
            low = power
        else:
            high = power
    stretched = np.where(gaps > 0, relative ** ((low + high) / 2), 0.0)
    elapsed = np.concatenate([[0.0], np.cumsum(stretched)])
    span_s = arrival_s[-1] - arrival_s[0]
    moved_s: NDArray[np.float64] = np.minimum(arrival_s[0] + elapsed * (span_s / elapsed[-1]), arrival_s[-1])
    return moved_s
