"""Our own search: the published one as a start, then simulated annealing with regrouping.

The greedy never looks back, which costs most when memory is tight; the walk does.
"""

from collections.abc import Callable

import numpy as np

from services.core.problem import Problem
from services.planner.policies.greedy import fill_by_estimate, fill_greedily, with_spare_replicas
from services.planner.policies.local_search import anneal, served_score
from services.planner.policies.published import best_of_buckets, uniform_fleets
from services.planner.policies.search import Evaluation, Search

_GREEDY_SHARE = 0.25
_BUCKETS_SHARE = 0.5
# Without limits: enough steps to settle every replica a few times, fewer for long workloads.
_STEPS_PER_MODEL_AND_DEVICE = 40
_MOST_STEPS = 3_000
_MOST_SIMULATED_REQUESTS = 30_000_000
_FEWEST_STEPS = 300


def plan_improved(search: Search) -> Evaluation:
    """Never worse than where it starts: an estimate for every uniform partition, greedy fillings of
    the most promising ones first, then latency buckets, each within its share of the budget."""
    starts: list[Evaluation] = []
    for fleet in uniform_fleets(search):
        if not starts or search.may_simulate():
            starts.append(fill_by_estimate(search, fleet))
    starts.sort(key=served_score, reverse=True)
    best = starts[0]
    with search.capped(_GREEDY_SHARE):
        for start in starts:
            if search.may_simulate():
                best = _better(best, fill_greedily(search, start.fleet))
    with search.capped(_BUCKETS_SHARE):
        for joined in best_of_buckets(search):
            best = _better(best, joined)
    best = anneal(search, best, np.random.default_rng(search.seed), _progress(search))
    filled = with_spare_replicas(best.fleet, best.replicas, search.problem.workload.num_requests_of)
    if (filled != best.replicas).any() and search.may_simulate():
        best = _better(best, search.simulate(best.fleet, filled))
    return best


def _progress(search: Search) -> Callable[[], float]:
    """How much of what is left of the budget is gone, or of the default number of steps."""
    if search.is_limited:
        first_share = min(search.share_spent, 1.0)
        return lambda: (search.share_spent - first_share) / (1 - first_share) if first_share < 1 else 1.0
    num_steps = default_steps(search.problem)
    first = search.num_simulations
    return lambda: (search.num_simulations - first) / num_steps


def default_steps(problem: Problem) -> int:
    """Simulations of the walk where the caller sets no limit."""
    size = problem.num_models + problem.spec.cluster.num_devices
    affordable = _MOST_SIMULATED_REQUESTS // problem.num_requests
    return max(min(_STEPS_PER_MODEL_AND_DEVICE * size, _MOST_STEPS, affordable), _FEWEST_STEPS)


def _better(first: Evaluation, second: Evaluation) -> Evaluation:
    return second if served_score(second) > served_score(first) else first
