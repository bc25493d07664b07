"""Which replicas to choose, as an integer programme: a binary for every replica, a row of memory for
every group. HiGHS solves it through scipy.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, hstack, vstack

from services.planner.policies.search import Fleet, Replicas

# Nodes of the search tree, fewer where each takes long: no clock may decide what is found.
_MOST_NODES = 1_000
_MOST_NODE_VARIABLES = 20_000
_FEWEST_NODES = 4
# Beyond, even the first relaxation takes minutes.
_MOST_VARIABLES = 10_000
_GAP = 1e-6
# HiGHS is lenient by 1e-6 in every row, and what it finds unfit in the end it repairs with words on
# stdout. So memory is counted in few units, weights rounded up, and rows are scaled down.
_MEMORY_UNITS = 1_000
_ROW_SCALE = 0.01


def most_even(fleet: Fleet, shares: NDArray[np.float64], least: float) -> Replicas | None:
    """Replicas whose smallest sum of `shares` over the models is largest, if it is `least` or more.

    `shares` (num_models, num_groups), a model of zeros alone is left out, a zero is no candidate.
    None if nothing was found.
    """
    models, groups = np.nonzero(shares)
    asked, rows = np.unique(models, return_inverse=True)
    num_replicas = len(models)
    by_model = coo_array((shares[models, groups], (rows, np.arange(num_replicas))), (len(asked), num_replicas))
    smallest = csr_array(-np.ones((len(asked), 1)))
    memory = hstack([_memory_rows(fleet, models, groups), csr_array((fleet.num_groups, 1))])
    matrix = vstack([memory, hstack([by_model, smallest])])
    low = np.concatenate([np.full(fleet.num_groups, -np.inf), np.zeros(len(asked))])
    high = np.concatenate([np.ones(fleet.num_groups), np.full(len(asked), np.inf)])
    objective = np.concatenate([np.zeros(num_replicas), [-1.0]])
    bounds = Bounds(np.append(np.zeros(num_replicas), least), np.append(np.ones(num_replicas), np.inf))
    constraint = LinearConstraint(_ROW_SCALE * csr_array(matrix), low, _ROW_SCALE * high)
    chosen = _solved(num_replicas, objective, constraint, bounds)
    if chosen is None:
        return None
    replicas = fleet.empty()
    replicas[models, groups] = chosen
    return replicas if (fleet.free_bytes(replicas) >= 0).all() else None


def _memory_rows(fleet: Fleet, models: NDArray[np.intp], groups: NDArray[np.intp]) -> csr_array:
    """The share that each replica takes of its group's memory, (num_groups, num_replicas)."""
    weight_bytes = fleet.weight_bytes[models, groups]
    unit = int(np.gcd.reduce(weight_bytes, initial=fleet.memory_bytes))
    unit = max(unit, fleet.memory_bytes // _MEMORY_UNITS)
    taken = -(-weight_bytes // unit) / (fleet.memory_bytes // unit)
    return csr_array((taken, (groups, np.arange(len(models)))), (fleet.num_groups, len(models)))


def _solved(
    num_replicas: int, objective: NDArray[np.float64], constraint: LinearConstraint, bounds: Bounds
) -> NDArray[np.bool_] | None:
    """The best solution within the node limit; of the variables the first are the replicas, binary."""
    if not 0 < num_replicas <= _MOST_VARIABLES:
        return None
    integrality = (np.arange(len(objective)) < num_replicas).astype(np.int64)
    num_nodes = min(max(_MOST_NODE_VARIABLES // num_replicas, _FEWEST_NODES), _MOST_NODES)
    options = {"node_limit": num_nodes, "mip_rel_gap": _GAP}
    try:
        result = milp(objective, integrality=integrality, bounds=bounds, constraints=constraint, options=options)
    except ValueError:
        # HiGHS fails on some well-formed programmes: "vector::reserve".
        return None
    return None if result.x is None else result.x[:num_replicas] > 0.5
