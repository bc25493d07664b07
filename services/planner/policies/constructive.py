"""A filling in one go, for memory that does not hold everything: what is worth most for its bytes first."""

import numpy as np

from services.planner.policies.buckets import model_latency_s
from services.planner.policies.filling import Filling
from services.planner.policies.greedy import idle_models, with_spare_replicas
from services.planner.policies.search import Evaluation, Fleet, Search


def fill_by_value(search: Search, fleet: Fleet) -> Evaluation:
    """Place each requested model once, most requests per byte first, on the group with the least work
    so far; then what is left of memory. One simulation."""
    problem = search.problem
    num_requests = problem.workload.num_requests_of
    lightest = np.maximum(fleet.weight_bytes.min(axis=1, initial=np.iinfo(np.int64).max), 1)
    filling = Filling(fleet)
    work_s = np.zeros(fleet.num_groups)
    for model in np.argsort(-num_requests / lightest, kind="stable").tolist():
        if num_requests[model] and filling.addable[model].any():
            group = int(np.argmin(np.where(filling.addable[model], work_s, np.inf)))
            filling.add(model, group)
            work_s[group] += num_requests[model] * model_latency_s(problem, model)
    return search.simulate(fleet, with_spare_replicas(fleet, filling.replicas, num_requests, idle_models(problem)))
