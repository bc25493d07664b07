"""What no placement can exceed: each request alone on its best group, and the devices' time.

A request is attainable only if some config that fits memory serves it in time on an idle group, and
the served requests of a time window need no more device seconds than the window has.
"""

import math

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem
from services.core.profile import StageProfile

_ROUNDING = 1e-9
_MAX_WINDOWS = 4096


def attainment_bound(problem: Problem) -> float:
    """An upper bound on the attainment of every placement under every dispatch rule."""
    latency_s, work_s = _best_costs(problem)
    model = problem.workload.model
    allowed_s = problem.slo_s * (1 + _ROUNDING) + _ROUNDING * problem.workload.arrival_s
    attainable = (latency_s[model] <= allowed_s) & np.isfinite(latency_s[model])
    urgent = attainable & np.isfinite(problem.slo_s)
    arrival_s = problem.workload.arrival_s[urgent]
    deadline_s = arrival_s + problem.slo_s[urgent]
    most = len(arrival_s)
    num_windows = 1
    while num_windows <= _MAX_WINDOWS and most:
        most = min(most, _served_in_windows(problem, arrival_s, deadline_s, work_s[model][urgent], num_windows))
        num_windows *= 2
    return (most + int(np.count_nonzero(attainable & ~urgent))) / problem.num_requests


def _best_costs(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per model: least latency on an idle group, and least device seconds; infinite if none fits."""
    latency_s = np.full(problem.num_models, math.inf)
    work_s = np.full(problem.num_models, math.inf)
    for m, model in enumerate(problem.spec.models):
        for stage in problem.profiles[model.profile].stages:
            if stage.batch_size == 1 and _fits_alone(problem, stage):
                busy_s = sum(problem.profiles.stage_latency_s(model.profile, stage.config))
                latency_s[m] = min(latency_s[m], busy_s + problem.profiles.request_overhead_s)
                work_s[m] = min(work_s[m], busy_s * stage.config.intra_op)
    return latency_s, work_s


def _fits_alone(problem: Problem, stage: StageProfile) -> bool:
    cluster = problem.spec.cluster
    fits_memory = stage.heaviest_stage_bytes <= cluster.memory_bytes
    return fits_memory and stage.config.num_devices <= cluster.num_devices


def _served_in_windows(
    problem: Problem,
    arrival_s: NDArray[np.float64],
    deadline_s: NDArray[np.float64],
    work_s: NDArray[np.float64],
    num_windows: int,
) -> int:
    """Requests whose whole life falls into one of equal windows compete for its device seconds, the
    cheapest first; all others count as served."""
    first_s, last_s = float(arrival_s[0]), float(deadline_s.max())
    if last_s <= first_s:
        return len(arrival_s)
    width_s = (last_s - first_s) / num_windows
    window = np.minimum((arrival_s - first_s) // width_s, num_windows - 1).astype(np.int64)
    # Widened on both sides by rounding, so that the bound stays one.
    inside = deadline_s <= first_s + (window + 1) * width_s
    capacity_s = problem.spec.cluster.num_devices * width_s * (1 + _ROUNDING) + _ROUNDING * last_s
    order = np.lexsort((work_s[inside], window[inside]))
    ordered_window, ordered_work_s = window[inside][order], work_s[inside][order]
    total_s = np.cumsum(ordered_work_s)
    starts = np.searchsorted(ordered_window, np.arange(num_windows))
    before_s = np.concatenate([[0.0], total_s])[starts][ordered_window]
    served = total_s - before_s <= capacity_s + _ROUNDING * total_s
    return int(np.count_nonzero(~inside) + np.count_nonzero(served))
