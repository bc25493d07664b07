"""Time windows in which more work arrives and falls due than all devices can do.

Windows halve from the whole workload down; of all ways to cut time into such windows, the one that
loses the most requests counts, since what is lost in windows apart is lost together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem
from services.planner.policies.bound_costs import ROUNDING

_NUM_HALVINGS = 12
_NUM_CELLS = 1 << _NUM_HALVINGS
_MAX_WINDOWS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Crowds:
    """`num_lost` requests at least are not attained. Of the most crowded windows, which lie apart,
    `width_s` (num_windows,), and per request `window` (num_requests,), the one that holds its whole
    life, else -1."""

    num_lost: int
    width_s: NDArray[np.float64]
    window: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Lives:
    """What competes for device seconds, the cheapest first: all (num_hurried,). `cell` is the
    finest window of the arrival; `request` indexes the workload."""

    request: NDArray[np.int64]
    cell: NDArray[np.int64]
    deadline_s: NDArray[np.float64]
    work_s: NDArray[np.float64]
    first_s: float
    last_s: float

    @property
    def cell_s(self) -> float:
        return (self.last_s - self.first_s) / _NUM_CELLS

    def windows(self, level: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], float]:
        """Of 2 ** level windows, the one each request arrives in, whether it must finish there too,
        and their width."""
        width_s = self.cell_s * (1 << _NUM_HALVINGS - level)
        window = self.cell >> (_NUM_HALVINGS - level)
        return window, self.deadline_s <= self.first_s + (window + 1) * width_s, width_s


def crowded_windows(problem: Problem, work_s: NDArray[np.float64]) -> Crowds:
    """Cut time so that the most requests are lost. `work_s` (num_requests,) is the least device
    seconds of each request, infinite for those that no group serves in time."""
    window_of = np.full(problem.num_requests, -1, dtype=np.int64)
    lives = _lives(problem, work_s)
    if lives is None:
        return Crowds(0, np.empty(0), window_of)
    lost = [_lost(problem, lives, level) for level in range(_NUM_HALVINGS + 1)]
    most = [lost[-1]]
    for coarser in lost[-2::-1]:
        most.append(np.maximum(coarser, most[-1][0::2] + most[-1][1::2]))
    most.reverse()
    most_crowded = _cut(lost, most)[:_MAX_WINDOWS]
    width_s = np.empty(len(most_crowded))
    for i, (level, w) in enumerate(most_crowded):
        window, is_inside, width_s[i] = lives.windows(level)
        window_of[lives.request[is_inside & (window == w)]] = i
    return Crowds(int(most[0][0]), width_s, window_of)


def _cut(lost: list[NDArray[np.int64]], most: list[NDArray[np.int64]]) -> list[tuple[int, int]]:
    """The windows (level, index) apart from each other that lose the most, the most crowded first."""
    found: list[tuple[int, int, int]] = []
    is_open = np.ones(1, dtype=np.bool_)
    for level in range(_NUM_HALVINGS + 1):
        is_cut = is_open & (lost[level] == most[level])
        found += [(-int(lost[level][w]), level, int(w)) for w in np.flatnonzero(is_cut & (lost[level] > 0))]
        is_open = np.repeat(is_open & ~is_cut, 2)
    return [(level, w) for _, level, w in sorted(found)]


def _lives(problem: Problem, work_s: NDArray[np.float64]) -> Lives | None:
    arrival_s = problem.workload.arrival_s
    hurried = np.flatnonzero(np.isfinite(work_s) & np.isfinite(problem.slo_s))
    if not len(hurried):
        return None
    cheapest_first = hurried[np.argsort(work_s[hurried], kind="stable")]
    deadline_s = arrival_s[cheapest_first] + problem.slo_s[cheapest_first]
    first_s, last_s = float(arrival_s[hurried[0]]), float(deadline_s.max())
    if last_s - first_s <= ROUNDING:
        return None
    num_cells_before = (arrival_s[cheapest_first] - first_s) // ((last_s - first_s) / _NUM_CELLS)
    cell = np.minimum(num_cells_before, _NUM_CELLS - 1).astype(np.int64)
    return Lives(cheapest_first, cell, deadline_s, work_s[cheapest_first], first_s, last_s)


def _lost(problem: Problem, lives: Lives, level: int) -> NDArray[np.int64]:
    """(2 ** level,) requests that each window has no device seconds for."""
    window, is_inside, width_s = lives.windows(level)
    # Widened on both sides by rounding, so that the bound stays one.
    capacity_s = problem.spec.cluster.num_devices * width_s * (1 + ROUNDING) + ROUNDING * lives.last_s
    inside = np.flatnonzero(is_inside)
    ordered = inside[np.argsort(window[inside].astype(np.uint16), kind="stable")]
    ordered_window = window[ordered]
    total_s = np.cumsum(lives.work_s[ordered])
    starts = np.searchsorted(ordered_window, np.arange(2**level))
    before_s = np.concatenate([[0.0], total_s])[starts][ordered_window]
    is_lost = total_s - before_s > capacity_s + ROUNDING * total_s
    return np.bincount(ordered_window[is_lost], minlength=2**level)
