"""The fast greedy of model selection: groups are given, replicas are added one by one.

The model with the most unserved requests goes to the group with the fewest, until nothing fits
(AlpaServe, section 4.2, the fast form of algorithm 1).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem
from services.planner.policies.filling import Filling
from services.planner.policies.search import Evaluation, Fleet, Replicas, Search


def fill_greedily(search: Search, fleet: Fleet, problem: Problem | None = None) -> Evaluation:
    """Fill an empty fleet, simulating after each replica; the best state seen by published score.

    Out of budget, it goes on with an estimate: a placed model's unserved requests are served by its
    new group. Memory that nobody needs here is filled at last. One simulation is always made.
    """
    posed = problem or search.problem
    num_requests = posed.workload.num_requests_of
    filling, unserved = Filling(fleet), num_requests.copy()
    group_requests = np.zeros(fleet.num_groups, dtype=np.int64)
    best: Evaluation | None = None
    last: Evaluation | None = None
    while (choice := next_replica(filling.addable, unserved, group_requests)) is not None:
        model, group = choice
        filling.add(model, group)
        last = None
        if search.may_simulate(reserve=1):
            last = search.simulate(fleet, filling.replicas, posed)
            unserved, group_requests = num_requests - last.counts.attained, last.counts.group_requests
            best = better_published(best, last)
        else:
            group_requests = group_requests.copy()
            group_requests[group] += unserved[model]
            unserved[model] = 0
    idle = idle_models(posed) if posed is search.problem else []
    filled = with_spare_replicas(fleet, filling.replicas, num_requests, idle)
    if last is None or ((filled != filling.replicas).any() and search.may_simulate()):
        last = search.simulate(fleet, filled, posed)
    return better_published(best, last)


def fill_by_estimate(search: Search, fleet: Fleet, problem: Problem | None = None) -> Evaluation:
    """Place each requested model once, most requested first, on the group with the fewest requests
    so far; one simulation."""
    with search.capped(0.0):
        return fill_greedily(search, fleet, problem)


def next_replica(
    addable: Replicas, unserved: NDArray[np.int64], group_requests: NDArray[np.int64]
) -> tuple[int, int] | None:
    """(model, group) to add, or None when no model with unserved requests fits anywhere."""
    wanting = np.flatnonzero(addable.any(axis=1) & (unserved > 0))
    if not len(wanting):
        return None
    model = int(wanting[np.argmax(unserved[wanting])])
    groups = np.flatnonzero(addable[model])
    return model, int(groups[np.argmin(group_requests[groups])])


def idle_models(problem: Problem) -> list[int]:
    """Models that the workload never asks for."""
    idle: list[int] = np.flatnonzero(problem.workload.num_requests_of == 0).tolist()
    return idle


def with_spare_replicas(
    fleet: Fleet, replicas: Replicas, num_requests: NDArray[np.int64], idle: Sequence[int] = ()
) -> Replicas:
    """One replica of each of the `idle` models, then further ones until nothing fits, the model with
    the most requests per replica first, on the group with the most room: traffic to come is not
    the traffic that was planned for."""
    filling = Filling(fleet, replicas)
    for model in idle:
        if not replicas[model].any():
            filling.add_where_roomiest(model)
    num_hosts = replicas.sum(axis=1)
    while (wanting := filling.addable.any(axis=1) & (num_requests > 0)).any():
        model = int(np.argmax(np.where(wanting, num_requests / np.maximum(num_hosts, 1), -1.0)))
        filling.add_where_roomiest(model)
        num_hosts[model] += 1
    return filling.replicas


def better_published(first: Evaluation | None, second: Evaluation) -> Evaluation:
    """The one with the higher published score; the first of equals."""
    if first is not None and first.published_score >= second.published_score:
        return first
    return second
