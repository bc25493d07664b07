"""New workloads with the statistics of a given one: the same rates over time, as bursty, other arrivals.

`synthesize` keeps of each model its rates and the variation of its gaps, and draws Gamma gaps;
`resampled` draws the gaps themselves, in runs, which keeps their distribution and what follows what.
"""

import numpy as np
from numpy.typing import NDArray

from services.core.modulation import LAG, Calibration, calibrated
from services.core.workload import Workload

# A window shows a rate only if an average model has several requests in it.
_REQUESTS_PER_WINDOW = 20
# A Gamma of no variation has no shape; this much cannot be told from it.
_LEAST_CV = 1e-3


def resampled(workload: Workload, seed: int, window_s: float | None = None) -> Workload:
    """Fresh arrivals over the same span, each with the SLO of some request of its model.

    A model's number of requests varies as its burstiness says. By default windows are so long that an
    average model has some twenty requests in each. What spans no time comes back as it is.
    Raises: InvalidWorkload for a window that is no time or far too short.
    """
    if workload.span_s == 0:
        return workload
    calibration = calibrated(workload, _default_window_s(workload) if window_s is None else window_s)
    rng = np.random.default_rng(seed)
    model = _models_to_draw(calibration)
    place, start = _runs(calibration, model, rng)
    num_of = calibration.num_requests_of[model]
    # Few gaps say little about their distribution: the fewer there are, the more each is blurred.
    gap = calibration.gap[place] * rng.standard_gamma(num_of) / num_of
    is_first = np.concatenate([[True], model[1:] != model[:-1]])
    gap[is_first] = start
    return _placed(workload, calibration, model, gap, workload.slo_s[calibration.order[place]])


def synthesize(workload: Workload, window_s: float, seed: int) -> Workload:
    """Gamma arrivals whose rates follow the workload's window by window, as bursty within them.

    SLOs of a model's requests are drawn at random. What spans no time comes back as it is.
    Raises: InvalidWorkload for a window that is no time or far too short.
    """
    if workload.span_s == 0:
        return workload
    calibration = calibrated(workload, window_s)
    rng = np.random.default_rng(seed)
    model = _models_to_draw(calibration)
    num_of = calibration.num_requests_of
    squares = np.bincount(workload.model[calibration.order], calibration.gap**2, len(num_of))
    cv2 = np.maximum(squares / np.maximum(num_of, 1) - 1, _LEAST_CV**2)[model]
    gap = rng.standard_gamma(1 / cv2) * cv2
    is_first = np.concatenate([[True], model[1:] != model[:-1]])
    # The gap around a random instant is drawn by its length, and the instant lies anywhere in it.
    around = cv2[is_first]
    gap[is_first] = rng.standard_gamma(1 / around + 1) * around * rng.random(len(around))
    place = calibration.first[model] + rng.integers(0, num_of[model])
    return _placed(workload, calibration, model, gap, workload.slo_s[calibration.order[place]])


def _default_window_s(workload: Workload) -> float:
    num_active = int(np.count_nonzero(workload.num_requests_of))
    num_windows = max(1, len(workload) // (_REQUESTS_PER_WINDOW * num_active))
    return workload.span_s / num_windows


def _models_to_draw(calibration: Calibration) -> NDArray[np.int32]:
    """The model of each gap to draw, model by model: as many as surely fill its operational time."""
    num_of = calibration.num_requests_of
    spread = np.sqrt(np.maximum(calibration.gap_dispersion, 1.0) * num_of)
    num_gaps = np.where(num_of > 0, num_of + np.ceil(5 * spread) + 16, 0).astype(np.int64)
    return np.repeat(np.arange(len(num_of), dtype=np.int32), num_gaps)


def _runs(
    calibration: Calibration, model: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places (num_gaps,) in the calibration, in runs of about `LAG`, and each model's time to its first arrival.

    A model begins at a random instant of its operational time, so that no arrival is special.
    """
    num_of, first = calibration.num_requests_of, calibration.first
    active = np.flatnonzero(num_of)
    own_num = num_of[model]
    step = np.arange(len(model))
    is_first = np.concatenate([[True], model[1:] != model[:-1]])
    begins = is_first | (rng.random(len(model)) < 1 / LAG)
    chosen = (rng.random(len(model)) * own_num).astype(np.int64)
    instant = rng.random(len(active)) * num_of[active]
    base = np.repeat(first, num_of)
    following = np.searchsorted(base + calibration.operational, first[active] + instant, side="right") - first[active]
    turns, following = np.divmod(np.clip(following, 0, num_of[active]), num_of[active])
    chosen[is_first] = following
    run = np.maximum.accumulate(np.where(begins, step, 0))
    place = first[model] + (chosen[run] + step - run) % own_num
    start = calibration.operational[first[active] + following] + turns * num_of[active] - instant
    return place, np.maximum(start, 0.0)


def _placed(
    workload: Workload,
    calibration: Calibration,
    model: NDArray[np.int32],
    gap: NDArray[np.float64],
    slo_s: NDArray[np.float64],
) -> Workload:
    """The workload of these gaps, model by model in operational time, as far as it goes."""
    total = np.cumsum(gap)
    begin = np.searchsorted(model, np.arange(len(workload.names)))
    before = np.concatenate([[0.0], total])[begin]
    operational = total - before[model]
    kept = operational < calibration.modulation.length[model]
    model, slo_s = model[kept], slo_s[kept]
    arrival_s = calibration.modulation.instants(operational[kept], model)
    order = np.argsort(arrival_s, kind="stable")
    return Workload(arrival_s[order], model[order], slo_s[order], workload.names)
