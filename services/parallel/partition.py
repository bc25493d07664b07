"""Where to cut a model's layers into pipeline stages.

The inter-op dynamic program of Alpa as AlpaServe uses it for serving (AlpaServe, section 4.1):
all stages run on equal sub-meshes, and the slowest stage is made as fast as possible. A cut is
given as its boundaries: stage k holds layers `boundaries[k]:boundaries[k + 1]`.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidArgument


def interval_sums(layer_costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs of every run of layers, `(num_layers, num_layers)`.

    Entry `[i, k]` is the cost of layers i … k, both included; below the diagonal it is infinite.
    """
    ends = np.cumsum(layer_costs, dtype=np.float64)
    starts = ends - layer_costs
    return np.where(np.tri(len(ends), k=-1, dtype=bool), np.inf, ends[None, :] - starts[:, None])


def min_max_boundaries(
    latency_s: NDArray[np.float64],
    num_stages: int,
    stage_bytes: NDArray[np.float64] | None = None,
    memory_bytes: float = np.inf,
) -> tuple[int, ...] | None:
    """Boundaries of the cut whose slowest stage is fastest; None if no cut fits the memory.

    `latency_s[i, k]` and `stage_bytes[i, k]` `(num_layers, num_layers)` belong to a stage of
    layers i … k, both included. F(s, k) = min over i of max(F(s − 1, i − 1), latency(i, k));
    every stage gets at least one layer; ties go to the smallest i.

    Raises:
        InvalidArgument: more stages than layers, or none.
    """
    num_layers = len(latency_s)
    _check_stages(num_layers, num_stages)
    allowed = np.tri(num_layers, dtype=bool).T
    if stage_bytes is not None:
        allowed &= stage_bytes <= memory_bytes
    cost = np.where(allowed, latency_s, np.inf)
    slowest = np.full(num_layers + 1, np.inf)
    slowest[0] = 0.0
    first_layers = np.empty((num_stages, num_layers), dtype=np.int64)
    for stage in range(num_stages):
        candidates = np.maximum(slowest[:num_layers, None], cost)
        first_layers[stage] = candidates.argmin(axis=0)
        slowest = np.concatenate(([np.inf], candidates.min(axis=0)))
    if not np.isfinite(slowest[num_layers]):
        return None
    boundaries = [num_layers]
    for stage in reversed(range(num_stages)):
        boundaries.append(int(first_layers[stage, boundaries[-1] - 1]))
    return tuple(reversed(boundaries))


def equal_layers(num_layers: int, num_stages: int) -> tuple[int, ...]:
    """Boundaries of the cut with as many layers in each stage, up to one, whatever they cost.

    Raises:
        InvalidArgument: more stages than layers, or none.
    """
    _check_stages(num_layers, num_stages)
    return tuple(stage * num_layers // num_stages for stage in range(num_stages + 1))


def check_boundaries(boundaries: tuple[int, ...], num_layers: int, num_stages: int) -> None:
    """Accept the boundaries of a cut.

    Raises:
        InvalidArgument: they do not cut `num_layers` layers into `num_stages` stages.
    """
    ends_fit = len(boundaries) == num_stages + 1 and boundaries[0] == 0 and boundaries[-1] == num_layers
    if not ends_fit or any(start >= stop for start, stop in pairwise(boundaries)):
        raise InvalidArgument(
            f"boundaries {boundaries} do not cut {num_layers} layers into {num_stages} stages of at least one"
        )


def _check_stages(num_layers: int, num_stages: int) -> None:
    if not 1 <= num_stages <= num_layers:
        raise InvalidArgument(f"{num_layers} layers cannot be cut into {num_stages} stages")
