"""Clockwork++: selective replication, planned again for every window's own traffic, switching for free.

An oracle to compare with (AlpaServe, section 6.2): it knows what is to come, and moves weights in no time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from services.core.errors import InvalidArgument
from services.core.problem import Problem, pose
from services.core.profile import ParallelConfig
from services.core.timeline import Timeline, Window, simulate_timeline_counts
from services.core.workload import Workload
from services.planner.policies.greedy import fill_greedily
from services.planner.policies.partition import uniform_partition
from services.planner.policies.search import Evaluation, Fleet, Replicas, Search
from services.planner.policies.spread import spread_replicas

CLOCKWORK = "clockwork++"
DEFAULT_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Replanned(Evaluation):
    """A first window's fleet with the replicas it holds, and the counts of all `windows`."""

    windows: tuple[Window, ...]


def plan_clockwork(search: Search, window_s: float = DEFAULT_WINDOW_S) -> Replanned:
    """Fill single devices greedily for each window; windows begin at multiples of `window_s`.

    A window without requests, and one for which no budget is left, keeps the placement before it.
    Raises: InvalidArgument if `window_s` is not positive.
    """
    if not (np.isfinite(window_s) and window_s > 0):
        raise InvalidArgument(f"a window must have a length, got {window_s!r} s")
    cluster, names = search.problem.spec.cluster, search.problem.spec.names
    fleet = search.fleet(uniform_partition(cluster, ParallelConfig(1, 1), search.is_useful))
    windows: list[Window] = []
    first: Replicas | None = None
    for begin_s, share, posed in problems_of_windows(search.problem, window_s):
        if first is None or search.may_simulate():
            replicas = _filled(search, fleet, posed, share)
            first = replicas if first is None else first
            placement = fleet.placement(replicas, names, search.dispatch)
            if not windows or placement != windows[-1].placement:
                windows.append(Window(begin_s, placement))
    if first is None:
        raise AssertionError("a problem without requests")
    counts = simulate_timeline_counts(search.problem, Timeline(tuple(windows)))
    found = Replanned(fleet, first, counts, search.problem.num_requests, tuple(windows))
    search.note(found.attainment)
    return found


def problems_of_windows(problem: Problem, window_s: float) -> Iterator[tuple[float, float, Problem]]:
    """Of every window with requests: its begin, the share of windows that is over after it, and its problem."""
    workload = problem.workload
    index = np.floor(workload.arrival_s / window_s)
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(index)) + 1, [len(workload)]]).tolist()
    num_windows = len(firsts) - 1
    for number, (low, high) in enumerate(pairwise(firsts), start=1):
        part = slice(low, high)
        requests = Workload(workload.arrival_s[part], workload.model[part], workload.slo_s[part], workload.names)
        begin_s = float(index[low] * window_s)
        yield begin_s, number / num_windows, pose(problem.spec, problem.profiles, requests)


def _filled(search: Search, fleet: Fleet, posed: Problem, share: float) -> Replicas:
    """The greedy's replicas for one window, and those that models need to reach their nodes."""
    with search.capped(share):
        found = fill_greedily(search, fleet, posed)
    return spread_replicas(posed.spec, fleet, found.replicas, posed.workload.num_requests_of)
