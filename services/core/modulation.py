"""The rates of a workload's models window by window, told apart from the burstiness of their gaps.

Bursts alone make counts differ between windows. A rate follows the counts only as far as they differ
more than the gaps explain, so that arrivals drawn from rates and gaps are as uneven as the source was,
not twice as much. Operational time is time in which a model has one request a unit on average.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload
from services.core.workload import Workload

# Requests over which the gaps' own unevenness is measured: enough to see that short gaps come together.
LAG = 16
_MAX_CELLS = 10_000_000
# The rates decide what the gaps explain and the gaps decide how far the rates go: a few rounds settle it.
_ROUNDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Modulation:
    """Requests to expect of each model in each window, `expected` (num_models, num_windows).

    Window w spans [w, w + 1) · `window_s` after `begin_s`.
    """

    begin_s: float
    window_s: float
    expected: NDArray[np.float64]

    @property
    def length(self) -> NDArray[np.float64]:
        """Operational time that each model has, (num_models,)."""
        total: NDArray[np.float64] = self.expected.sum(axis=1)
        return total

    def operational(self, arrival_s: NDArray[np.float64], model: NDArray[np.int32]) -> NDArray[np.float64]:
        """Arrivals (num_requests,) in the operational time of their models, which starts at 0."""
        position = (arrival_s - self.begin_s) / self.window_s
        window = np.clip(position.astype(np.int64), 0, self.expected.shape[1] - 1)
        before = np.cumsum(self.expected, axis=1) - self.expected
        return before[model, window] + (position - window) * self.expected[model, window]

    def instants(self, operational: NDArray[np.float64], model: NDArray[np.int32]) -> NDArray[np.float64]:
        """The inverse of `operational`; model by model, within the length of each."""
        num_windows = self.expected.shape[1]
        length = self.length
        start = np.cumsum(length) - length
        before = start[:, None] + np.cumsum(self.expected, axis=1) - self.expected
        sought = start[model] + operational
        cell = np.searchsorted(before.ravel(), sought, side="right") - 1
        cell = np.clip(cell, model * np.int64(num_windows), (model + np.int64(1)) * num_windows - 1)
        expected = self.expected.ravel()[cell]
        into = np.maximum(sought - before.ravel()[cell], 0.0)
        share = np.minimum(np.divide(into, expected, out=np.zeros(len(cell)), where=expected > 0), 1.0)
        instant: NDArray[np.float64] = self.begin_s + (cell % num_windows + share) * self.window_s
        return instant


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A workload as rates and gaps.

    `order` (num_requests,) lists the requests model by model, each in order of arrival; `operational`
    (num_requests,) are their arrivals in operational time; `gap` (num_requests,) the time since the
    request before, the last of a model coming before its first, so that a model's gaps have mean 1.
    `gap_dispersion` (num_models,) is the variance of the sum of some gaps, per gap.
    """

    modulation: Modulation
    order: NDArray[np.int64]
    operational: NDArray[np.float64]
    gap: NDArray[np.float64]
    gap_dispersion: NDArray[np.float64]
    num_requests_of: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.int64]:
        """Where each model's requests begin in `order`, (num_models,)."""
        return np.cumsum(self.num_requests_of) - self.num_requests_of


def calibrated(workload: Workload, window_s: float) -> Calibration:
    """Rates and gaps of a workload that spans some time; windows are rounded so that they divide it.

    Raises: InvalidWorkload for a window that is no time or far too short.
    """
    num_windows, width_s = _windows(workload, window_s)
    order = np.argsort(workload.model, kind="stable")
    arrival_s, model = workload.arrival_s[order], workload.model[order]
    num_of = workload.num_requests_of
    begin_s = float(workload.arrival_s[0])
    window = np.minimum(((arrival_s - begin_s) / width_s).astype(np.int64), num_windows - 1)
    shape = (len(workload.names), num_windows)
    counts = (
        np.bincount(model * np.int64(num_windows) + window, minlength=math.prod(shape)).reshape(shape).astype(float)
    )
    mean = np.broadcast_to(counts.mean(axis=1, keepdims=True), shape)
    # Operational time is linear in the rates: that of any rates between lies between these two.
    by_counts = Modulation(begin_s, width_s, counts).operational(arrival_s, model)
    by_mean = Modulation(begin_s, width_s, mean).operational(arrival_s, model)
    kept, dispersion = _kept_share(counts, _gap_moments(by_counts, by_mean, model, num_of))
    modulation = Modulation(begin_s, width_s, mean + kept[:, None] * (counts - mean))
    operational = kept[model] * by_counts + (1 - kept[model]) * by_mean
    gap = _lagged(operational, model, num_of, np.full(shape[0], -1))
    return Calibration(modulation, order, operational, gap, dispersion, num_of)


def _windows(workload: Workload, window_s: float) -> tuple[int, float]:
    """(number of windows, seconds of each); the last arrival is followed by one mean gap more."""
    if not (math.isfinite(window_s) and window_s > 0):
        raise InvalidWorkload(f"a window must be a positive number of seconds, got {window_s!r}")
    total_s = workload.span_s * len(workload) / (len(workload) - 1)
    num_windows = max(1, round(min(total_s / window_s, float(_MAX_CELLS) + 1)))
    if num_windows * len(workload.names) > _MAX_CELLS:
        raise InvalidWorkload(
            f"windows of {window_s!r} s are too short for {len(workload.names)} models over {total_s:g} s"
        )
    return num_windows, total_s / num_windows


def _kept_share(
    counts: NDArray[np.float64], moments: tuple[NDArray[np.float64], ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much of the counts' deviation from their mean the rates keep, and the gaps' dispersion then, (num_models,).

    What they drop has the variance that a stationary renewal process of these gaps has in a window.
    """
    kept = np.ones(len(counts))
    mean, variance = counts.mean(axis=1), counts.var(axis=1)
    if counts.shape[1] > 1:
        variance *= counts.shape[1] / (counts.shape[1] - 1)
    for _ in range(_ROUNDS):
        dispersion = kept**2 * moments[0] + 2 * kept * (1 - kept) * moments[1] + (1 - kept) ** 2 * moments[2]
        by_gaps = np.maximum(dispersion * mean + (1 - dispersion**2) / 6, np.minimum(dispersion, 1.0) * mean)
        unexplained = np.divide(variance - by_gaps, variance, out=np.zeros(len(mean)), where=variance > 0)
        kept = np.sqrt(np.maximum(unexplained, 0.0))
    return kept, dispersion


def _gap_moments(
    by_counts: NDArray[np.float64], by_mean: NDArray[np.float64], model: NDArray[np.int32], num_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:
    """Variance, covariance, variance of the sums of `LAG` gaps in two operational times, per gap, (num_models,)."""
    lag = np.clip(num_of // 4, 1, LAG)
    first, second = (_lagged(own, model, num_of, lag) - lag[model] for own in (by_counts, by_mean))
    num_gaps = np.maximum(num_of * lag, 1)
    return tuple(
        np.bincount(model, product, len(num_of)) / num_gaps for product in (first**2, first * second, second**2)
    )


def _lagged(
    operational: NDArray[np.float64], model: NDArray[np.int32], num_of: NDArray[np.int64], lag: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Operational time between each request and the one `lag` (num_models,) later, the model's time being a circle.

    A negative lag looks back.
    """
    first = (np.cumsum(num_of) - num_of)[model]
    own_num = num_of[model]
    place = np.arange(len(model)) - first + lag[model]
    turns, place = np.divmod(place, own_num)
    other = operational[first + place] + turns * own_num
    between: NDArray[np.float64] = np.abs(other - operational)
    return between
