"""A linear programme that every placement satisfies: the most requests that it lets be attained.

Groups of every config share the devices, models are held by mixtures of groups within the groups'
memory, and the requests attained in a window occupy every pipeline stage for no longer than it lasts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem
from services.planner.policies.bound_costs import ROUNDING, Costs
from services.planner.policies.bound_hosts import Hosts, hosts_of
from services.planner.policies.bound_solver import Rows, highest
from services.planner.policies.bound_windows import Crowds

_MAX_FLOWS = 20_000
_NUM_ROUNDED_WEIGHTS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Programme:
    """The unknowns, in this order: groups of each config (num_configs,); how far a `model` is held
    by a `choice` of groups, both (num_holds,); requests attained of a `profile` on a `config` in a
    `window`, all (num_flows,).

    `arrivals` (num_profiles, num_windows + 2) counts requests that some group serves in time, in the
    two last columns those in no window and those without a deadline; `width_s` is (num_windows,),
    `horizon_s` the time from the first arrival to the last deadline.
    """

    problem: Problem
    costs: Costs
    hosts: Hosts
    arrivals: NDArray[np.int64]
    width_s: NDArray[np.float64]
    horizon_s: float
    model: NDArray[np.int64]
    choice: NDArray[np.int64]
    profile: NDArray[np.int64]
    config: NDArray[np.int64]
    window: NDArray[np.int64]

    @property
    def hold(self) -> NDArray[np.int64]:
        """(num_holds,) their place among the unknowns."""
        return len(self.costs.configs) + np.arange(len(self.model))

    @property
    def flow(self) -> NDArray[np.int64]:
        """(num_flows,) their place among the unknowns."""
        return len(self.costs.configs) + len(self.model) + np.arange(len(self.profile))

    @property
    def model_profile(self) -> NDArray[np.int64]:
        """(num_holds,)"""
        return self.problem.profile_row[self.model].astype(np.int64)


def most_hosted(problem: Problem, costs: Costs, work_s: NDArray[np.float64], crowds: Crowds) -> int:
    """No placement attains more requests. `work_s` (num_requests,) is infinite for those that no
    group serves in time."""
    if not np.isfinite(work_s).any():
        return 0
    programme = _programme(problem, costs, np.isfinite(work_s), crowds)
    upper = np.concatenate(
        [
            problem.spec.cluster.num_devices // costs.num_devices,
            np.ones(len(programme.model)),
            programme.arrivals[programme.profile, programme.window],
        ]
    )
    gain = np.zeros(len(upper))
    gain[programme.flow] = 1.0
    rows = [*_holding_rows(programme), *_memory_rows(programme), *_attained_rows(programme), *_time_rows(programme)]
    return int(highest(gain, upper, rows) * (1 + ROUNDING) + 1e-6)


def _programme(problem: Problem, costs: Costs, is_attainable: NDArray[np.bool_], crowds: Crowds) -> Programme:
    hosts = hosts_of(problem, costs)
    num_windows = min(len(crowds.width_s), _MAX_FLOWS // costs.latency_s.size)
    window = np.where((crowds.window >= 0) & (crowds.window < num_windows), crowds.window, num_windows)
    window = np.where(np.isfinite(problem.slo_s), window, num_windows + 1)
    arrivals = np.zeros((len(problem.profile_names), num_windows + 2), dtype=np.int64)
    row = problem.profile_row[problem.workload.model]
    np.add.at(arrivals, (row[is_attainable], window[is_attainable]), 1)
    deadline_s = (problem.workload.arrival_s + problem.slo_s)[is_attainable & np.isfinite(problem.slo_s)]
    first_s = problem.workload.arrival_s[0]
    horizon_s = float(deadline_s.max(initial=first_s) - first_s)
    model, choice = np.nonzero(hosts.is_worthwhile.T)
    profile, config, at = np.nonzero((costs.weight_bytes >= 0)[:, :, None] & (arrivals > 0)[:, None, :])
    width_s = crowds.width_s[:num_windows]
    return Programme(problem, costs, hosts, arrivals, width_s, horizon_s, model, choice, profile, config, at)


def _holding_rows(programme: Programme) -> Iterator[Rows]:
    """Groups share the devices; a model mixes choices; no config holds it more often than it has groups."""
    groups = np.arange(len(programme.costs.configs))
    cluster = programme.problem.spec.cluster
    yield Rows(np.zeros_like(groups), groups, programme.costs.num_devices, np.array([cluster.num_devices]))
    num_models = programme.problem.num_models
    yield Rows(programme.model, programme.hold, np.ones(len(programme.model)), np.ones(num_models))
    for c in groups:
        num_groups = programme.hosts.num_groups[programme.choice, c]
        held = np.flatnonzero(num_groups)
        model, row = np.unique(programme.model[held], return_inverse=True)
        rows = np.concatenate([row, np.arange(len(model))])
        columns = np.concatenate([programme.hold[held], np.full(len(model), c)])
        yield Rows(rows, columns, np.concatenate([num_groups[held], -np.ones(len(model))]), np.zeros(len(model)))


def _memory_rows(programme: Programme) -> Iterator[Rows]:
    """What the groups of a config hold fits their memory, in bytes and in rounded weights."""
    memory_bytes = programme.problem.spec.cluster.memory_bytes
    for c in range(len(programme.costs.configs)):
        num_groups = programme.hosts.num_groups[programme.choice, c]
        held = np.flatnonzero(num_groups)
        weight_bytes = programme.costs.weight_bytes[programme.model_profile[held], c]
        columns = np.append(programme.hold[held], c)
        for steps in range(_NUM_ROUNDED_WEIGHTS + 1):
            share = _rounded_share(weight_bytes, memory_bytes, steps)
            values = np.append(num_groups[held] * share, -1.0)
            yield Rows(np.zeros_like(columns), columns, values, np.zeros(1))


def _rounded_share(weight_bytes: NDArray[np.int64], memory_bytes: int, steps: int) -> NDArray[np.float64]:
    """Shares of the memory such that any weights that fit add up to 1 at most: exact for no `steps`,
    else rounded to multiples of 1 / steps (a dual feasible function: Fekete and Schepers, 2001)."""
    share = weight_bytes / memory_bytes
    if not steps:
        return share
    whole, rest = np.divmod((steps + 1) * weight_bytes, memory_bytes)
    return np.where(rest == 0, share, whole / steps)


def _attained_rows(programme: Programme) -> Iterator[Rows]:
    """A profile's models attain no more than their groups let them, and no more than arrives."""
    attained = programme.hosts.attained[programme.choice, programme.model]
    yield Rows(
        np.concatenate([programme.profile, programme.model_profile]),
        np.concatenate([programme.flow, programme.hold]),
        np.concatenate([np.ones(len(programme.flow)), -attained]),
        np.zeros(len(programme.arrivals)),
    )
    cell = programme.profile * programme.arrivals.shape[1] + programme.window
    yield Rows(cell, programme.flow, np.ones(len(cell)), programme.arrivals.ravel())


def _time_rows(programme: Programme) -> Iterator[Rows]:
    """Every stage of every config works within each window, and within the whole workload."""
    outside = len(programme.width_s)
    last_s = programme.problem.workload.arrival_s[0] + programme.horizon_s
    spans = [(w, w, width_s) for w, width_s in enumerate(programme.width_s)] + [(0, outside, programme.horizon_s)]
    for c, stage_s in enumerate(programme.costs.stage_s):
        busy_s = stage_s[programme.costs.weight_bytes[:, c] >= 0]
        # Nobody works in the last stage at once, nor in the first stage to the end.
        before_s = (np.cumsum(busy_s, axis=1) - busy_s).min(axis=0, initial=np.inf)
        after_s = (busy_s.sum(axis=1)[:, None] - np.cumsum(busy_s, axis=1)).min(axis=0, initial=np.inf)
        idle_s = np.nan_to_num(before_s + after_s, posinf=0.0) + programme.problem.profiles.request_overhead_s
        for first, last, width_s in spans:
            within = (programme.config == c) & (programme.window >= first) & (programme.window <= last)
            columns = np.append(programme.flow[within], c)
            most_s = np.maximum(width_s - idle_s, 0.0) + ROUNDING * (width_s + last_s)
            for k in range(stage_s.shape[1]):
                values = np.append(stage_s[programme.profile[within], k], -most_s[k])
                yield Rows(np.zeros_like(columns), columns, values, np.zeros(1))
