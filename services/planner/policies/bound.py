"""What no placement can exceed, the lower of two relaxations.

Pooled: a request is attainable only if some config that fits memory serves it in time on an idle
group, and the served requests of a time window need no more device seconds than the window has.
Hosted: a linear programme that places models fractionally, see `bound_programme`.
"""

import numpy as np

from services.core.problem import Problem
from services.planner.policies.bound_costs import costs_of, least_work_s
from services.planner.policies.bound_programme import most_hosted
from services.planner.policies.bound_windows import crowded_windows


def attainment_bound(problem: Problem) -> float:
    """An upper bound on the attainment of every placement under every dispatch rule."""
    costs = costs_of(problem)
    work_s = least_work_s(problem, costs)
    crowds = crowded_windows(problem, work_s)
    pooled = int(np.count_nonzero(np.isfinite(work_s))) - crowds.num_lost
    return min(pooled, most_hosted(problem, costs, work_s, crowds)) / problem.num_requests


def pooled_bound(problem: Problem) -> float:
    """The cheap half of it: as if every device held every model."""
    work_s = least_work_s(problem, costs_of(problem))
    pooled = int(np.count_nonzero(np.isfinite(work_s))) - crowded_windows(problem, work_s).num_lost
    return pooled / problem.num_requests
