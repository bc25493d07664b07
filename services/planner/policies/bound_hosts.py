"""What a model attains at most on groups of its own, by how many of which config hold it.

A pipeline is relaxed to its slowest stage: requests enter at least that far apart and leave no
sooner than an idle group lets them. Equal requests with equal SLOs are then attained the most by
first come, first served, so running the rule on a model's own traffic gives the bound.
"""

import math
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from services.core.kernel import Layout
from services.core.problem import Problem
from services.core.schedule import EARLIEST_FREE
from services.core.simulator import Serve, serve_once, simulate_counts
from services.planner.policies.bound_costs import Costs, widened_s

_MAX_LISTED = 3
_MAX_HOLDS = 30_000
_MAX_RUN_REQUESTS = 30_000_000

Choice = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Hosts:
    """Choices of groups to hold a model: `num_groups` (num_choices, num_configs) of each config, and
    what they attain at most, `attained` (num_choices, num_models); `is_worthwhile` of the same shape.

    Whatever holds a model has, of every config, at least the groups of some mixture of worthwhile
    choices, and attains no more than that mixture.
    """

    num_groups: NDArray[np.int64]
    attained: NDArray[np.int64]
    is_worthwhile: NDArray[np.bool_]


def hosts_of(problem: Problem, costs: Costs) -> Hosts:
    """Every choice of up to three groups that the cluster can hold, fewer where that is too many;
    one group more attains everything, so a mixture of those stands for all that are larger."""
    num_listed = _num_listed(problem, costs)
    solo = _solo(problem, costs, num_listed)
    num_configs, num_devices = len(costs.configs), problem.spec.cluster.num_devices
    available = (costs.weight_bytes >= 0)[problem.profile_row].T
    attained: dict[Choice, NDArray[np.int64]] = {}
    for size in range(1, num_listed + 1):
        for choice in combinations_with_replacement(range(num_configs), size):
            if costs.num_devices[list(choice)].sum() <= num_devices:
                attained[choice] = _attained(solo, choice, attained) * available[list(choice)].all(axis=0)
    for c in range(num_configs):
        if num_listed * costs.num_devices.min() + costs.num_devices[c] <= num_devices:
            attained[(c,) * (num_listed + 1)] = solo.num_attainable * available[c]
    return _without_dominated(attained, num_configs)


@dataclass(frozen=True, slots=True, eq=False)
class Solo:
    """Runs in which every model has groups of its own. Both (num_requests,): `own_s` is what a request
    is allowed, `within_s` what the most patient one of its model is, so that nothing is gained by
    overtaking. `num_attainable` (num_models,) requests are served in time by some idle group."""

    problem: Problem
    costs: Costs
    own_s: NDArray[np.float64]
    within_s: NDArray[np.float64]
    num_attainable: NDArray[np.int64]
    serve: Serve

    def attained(self, choice: Choice) -> NDArray[np.int64]:
        """(num_models,) attained at most on the groups of `choice` (configs), each of them taken to
        be as fast as the fastest."""
        problem = self.problem
        row = problem.profile_row[problem.requests.model]
        fastest_s = self.costs.latency_s[:, choice].min(axis=1)
        held = np.isfinite(fastest_s)
        latency_s = np.where(held, fastest_s, 0.0)
        slowest_s = np.where(held, self.costs.slowest_s[:, choice].min(axis=1), 0.0)
        in_time = held[row] & (latency_s[row] <= self.own_s)
        slo_s = np.where(in_time, self.within_s - (latency_s - slowest_s)[row], -1.0)
        num_groups = problem.num_models * len(choice)
        group = np.arange(num_groups + 1, dtype=np.int32)
        # The groups of a model lie side by side, one stage each.
        layout = Layout(
            first_stage=group,
            first_host=group[:: len(choice)].copy(),
            host=group[:-1].copy(),
            cost_row=problem.profile_row,
            latency=np.repeat(slowest_s[:, None], num_groups, axis=1),
            request_overhead_s=0.0,
        )
        hurried = replace(problem, requests=problem.requests._replace(slo_s=slo_s))
        return simulate_counts(hurried, layout, EARLIEST_FREE, self.serve).attained


def _solo(problem: Problem, costs: Costs, num_listed: int) -> Solo:
    model = problem.workload.model
    patience_s = np.zeros(problem.num_models)
    np.maximum.at(patience_s, model, problem.slo_s)
    own_s = widened_s(problem, problem.slo_s)
    fastest_s = costs.latency_s.min(axis=1)[problem.profile_row][model]
    in_time = np.isfinite(fastest_s) & (fastest_s <= own_s)
    return Solo(
        problem=problem,
        costs=costs,
        own_s=own_s,
        within_s=widened_s(problem, patience_s[model]),
        num_attainable=np.bincount(model[in_time], minlength=problem.num_models),
        serve=serve_once(problem.num_requests * _num_choices(costs, num_listed)),
    )


def _num_listed(problem: Problem, costs: Costs) -> int:
    """How many groups a choice may have, such that the runs and the programme stay small."""
    fewest = min(_MAX_HOLDS // problem.num_models, _MAX_RUN_REQUESTS // problem.num_requests)
    return max(1, sum(_num_choices(costs, size) <= fewest for size in range(1, _MAX_LISTED + 1)))


def _num_choices(costs: Costs, num_listed: int) -> int:
    return math.comb(len(costs.configs) + num_listed, num_listed)


def _attained(solo: Solo, choice: Choice, found: dict[Choice, NDArray[np.int64]]) -> NDArray[np.int64]:
    """(num_models,) at most: what a run attains, but no more than the groups attain apart."""
    if len(choice) == 1:
        return solo.attained(choice)
    fewer = [choice[:i] + choice[i + 1 :] for i in range(len(choice))]
    most = solo.num_attainable
    for rest, c in zip(fewer, choice, strict=True):
        most = np.minimum(most, found[rest] + found[(c,)])
    if (np.max([found[rest] for rest in fewer], axis=0) >= most).all():
        return most
    return np.minimum(most, solo.attained(choice))


def _without_dominated(attained: dict[Choice, NDArray[np.int64]], num_configs: int) -> Hosts:
    """Drop, per model, the choices of which one group less attains as much."""
    kept = []
    for choice, most in attained.items():
        fewer = [choice[:i] + choice[i + 1 :] for i in range(len(choice))]
        others = [attained[rest] for rest in fewer if rest in attained]
        kept.append(most > np.max(others, axis=0, initial=0))
    num_groups = np.array([np.bincount(choice, minlength=num_configs) for choice in attained])
    return Hosts(num_groups, np.array(list(attained.values())), np.array(kept))
