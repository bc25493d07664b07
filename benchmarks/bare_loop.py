"""A bare numba loop of earliest-free dispatch and FCFS admission: the floor of any simulation.

It shares nothing with the simulator but the arrays, keeps one count, and is what speeds are ratios to.
"""

from typing import Any

import numba
import numpy as np

from services.core.kernel import Layout
from services.core.problem import Problem


@numba.njit(nogil=True, cache=True)
def _attained(
    arrival_s: Any,
    model: Any,
    slo_s: Any,
    first_host: Any,
    host: Any,
    first_stage: Any,
    row: Any,
    latency_s: Any,
    free: Any,
    ends: Any,
) -> int:
    count = 0
    for i in range(len(arrival_s)):
        now, m, group, least = arrival_s[i], model[i], -1, np.inf
        for j in range(first_host[m], first_host[m + 1]):
            clock = free[first_stage[host[j] + 1] - 1]
            if clock < least:
                group, least = host[j], clock
        if group < 0:
            continue
        t, begin, end = now, first_stage[group], first_stage[group + 1]
        for k in range(begin, end):
            if free[k] > t:
                t = free[k]
            t += latency_s[row[m], k]
            ends[k - begin] = t
        if t - now <= slo_s[m]:
            count += 1
            for k in range(begin, end):
                free[k] = ends[k - begin]
    return count


def bare_attained(problem: Problem, layout: Layout) -> int:
    """Requests attained; the request overhead is left out."""
    requests = problem.requests
    free = np.zeros(int(layout.first_stage[-1]))
    ends = np.zeros(64)
    slo_s = problem.model_slo_s
    arrays = (layout.first_host, layout.host, layout.first_stage, layout.cost_row, layout.latency)
    return int(_attained(requests.arrival_s, requests.model, slo_s, *arrays, free, ends))
