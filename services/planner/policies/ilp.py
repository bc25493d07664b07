"""The integer programme as a policy: replicas × throughput / rate of the model that has least of it is
made as large as memory allows, on groups of one config (AlpaServe, section 6).
"""

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem
from services.planner.policies.filling import Filling
from services.planner.policies.greedy import better_published, idle_models, with_spare_replicas
from services.planner.policies.published import uniform_fleets
from services.planner.policies.search import Evaluation, Fleet, Replicas, Search

_BISECTIONS = 40
_SHORTEST_S = 1e-9
# What the programme must win over the packing, to be worth its search tree.
_BETTER = 1.001


def plan_ilp(search: Search) -> Evaluation:
    """The best of the balanced fleets, one for each config, by published score. Memory that the
    programme leaves goes to the most requested models.

    All are first balanced by packing, so that a budget that ends early leaves a plan; the programme
    then begins with the most promising.
    """
    problem = search.problem
    packed: list[tuple[Evaluation, Replicas]] = []
    for fleet in uniform_fleets(search):
        if not packed or search.may_simulate():
            replicas = packed_evenly(fleet, load_shares(problem, fleet), problem.workload.num_requests_of)
            packed.append((_filled(search, fleet, replicas), replicas))
    packed.sort(key=lambda found: -found[0].published_score)
    best = packed[0][0]
    for start, replicas in packed:
        if not search.may_simulate():
            break
        balanced = balanced_replicas(start.fleet, load_shares(problem, start.fleet), replicas)
        if (balanced != replicas).any():
            best = better_published(best, _filled(search, start.fleet, balanced))
    return best


def _filled(search: Search, fleet: Fleet, replicas: Replicas) -> Evaluation:
    return search.simulate(
        fleet,
        with_spare_replicas(fleet, replicas, search.problem.workload.num_requests_of, idle_models(search.problem)),
    )


def load_shares(problem: Problem, fleet: Fleet) -> NDArray[np.float64]:
    """Which share of a model's requests a replica could serve, (num_models, num_groups), in proportion
    to the span of the workload: throughput / rate. 0 where it does not fit, and without requests.
    """
    shares = np.zeros(fleet.weight_bytes.shape)
    num_requests = problem.workload.num_requests_of
    for group in range(fleet.num_groups):
        first, last = fleet.lanes.first_stage[group : group + 2]
        slowest_s = fleet.lanes.latency_s[problem.profile_row, first:last].max(axis=1)
        serves = (fleet.weight_bytes[:, group] <= fleet.memory_bytes) & (num_requests > 0)
        shares[serves, group] = 1 / (np.maximum(slowest_s[serves], _SHORTEST_S) * num_requests[serves])
    return shares


def smallest_share(shares: NDArray[np.float64], replicas: Replicas) -> float:
    """Of the models that are placed and asked for; 0 if there is none."""
    served = (shares * replicas).sum(axis=1)
    return float(served[served > 0].min(initial=np.inf)) if served.any() else 0.0


def packed_evenly(fleet: Fleet, shares: NDArray[np.float64], num_requests: NDArray[np.int64]) -> Replicas:
    """Replicas for the largest common share that a simple packing finds room for; where not every
    model finds room for a replica, for the most requested models."""
    wanted = np.flatnonzero(shares.any(axis=1))
    one_each = _packed(fleet, shares, wanted, 0.0)
    if one_each is None:
        one_each = _most_requested(fleet, shares, num_requests)
        wanted = np.flatnonzero(one_each.any(axis=1))
    best, low = one_each, smallest_share(shares, one_each)
    high = float(shares[wanted].sum(axis=1).min(initial=np.inf)) if len(wanted) else low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        found = _packed(fleet, shares, wanted, middle)
        if found is None:
            high = middle
        else:
            best, low = found, max(smallest_share(shares, found), middle)
    return best


def _packed(fleet: Fleet, shares: NDArray[np.float64], wanted: NDArray[np.intp], share: float) -> Replicas | None:
    """Replicas of the wanted models, heaviest first, each until it has this share; None without room."""
    filling = Filling(fleet)
    for model in sorted(wanted.tolist(), key=lambda m: -int(fleet.weight_bytes[m].min())):
        served = 0.0
        while not served or served < share:
            group = filling.add_where_roomiest(model)
            if group is None:
                return None
            served += float(shares[model, group])
    return filling.replicas


def _most_requested(fleet: Fleet, shares: NDArray[np.float64], num_requests: NDArray[np.int64]) -> Replicas:
    """One replica each as far as memory goes: the most requested models first, or the most requested
    by weight, whichever serves more requests."""
    lightest = np.maximum(fleet.weight_bytes.min(axis=1), 1)
    orders = (np.argsort(-num_requests, kind="stable"), np.argsort(-num_requests / lightest, kind="stable"))
    fillings = [Filling(fleet) for _ in orders]
    for filling, order in zip(fillings, orders, strict=True):
        for model in order[shares[order].any(axis=1)].tolist():
            filling.add_where_roomiest(model)
    return max((filling.replicas for filling in fillings), key=lambda held: int(num_requests @ held.any(axis=1)))


def balanced_replicas(fleet: Fleet, shares: NDArray[np.float64], start: Replicas) -> Replicas:
    """What the programme finds for the models of `start`, or `start` where that is no better."""
    # scipy takes a second to import.
    from services.planner.policies.programme import most_even

    least = smallest_share(shares, start)
    if not least:
        return start
    is_placed: NDArray[np.bool_] = np.asarray(start.any(axis=1))
    found = most_even(fleet, shares * is_placed[:, None] / least, _BETTER)
    return start if found is None or smallest_share(shares, found) <= least else found
