"""Where to cut a model's layers into pipeline stages.

The inter-op dynamic program of Alpa as AlpaServe uses it for serving (AlpaServe, section 4.1):
all stages run on equal sub-meshes, and the slowest stage is made as fast as possible. A cut is
given as its boundaries: stage k holds layers `boundaries[k]:boundaries[k + 1]`.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidArgument

_SQUARE_UNITS = 2.0**40


def interval_sums(layer_costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs of every run of layers, `(num_layers, num_layers)`.

    Entry `[i, k]` is the cost of layers i … k, both included; below the diagonal it is infinite.
    Runs of the same costs in the same order have the very same sum.
    """
    sums = np.full((len(layer_costs), len(layer_costs)), np.inf)
    for first in range(len(layer_costs)):
        sums[first, first:] = np.cumsum(layer_costs[first:], dtype=np.float64)
    return sums


def min_max_boundaries(
    latency_s: NDArray[np.float64],
    num_stages: int,
    stage_bytes: NDArray[np.float64] | None = None,
    memory_bytes: float = np.inf,
) -> tuple[int, ...] | None:
    """Boundaries of the cut whose slowest stage is fastest; None if no cut fits the memory.

    `latency_s[i, k]` and `stage_bytes[i, k]` `(num_layers, num_layers)` belong to a stage of
    layers i … k, both included; every stage gets at least one layer. Of the cuts whose slowest stage
    is equally fast it is the one with the least sum of squared latencies: models that share a pipeline
    delay each other less where they are even. What still ties goes to the longest last stages.

    Raises:
        InvalidArgument: more stages than layers, or none.
    """
    num_layers = len(latency_s)
    _check_stages(num_layers, num_stages)
    allowed = np.tri(num_layers, dtype=bool).T
    if stage_bytes is not None:
        allowed &= stage_bytes <= memory_bytes
    cost = np.where(allowed, latency_s, np.inf)
    slowest_s, _ = _least(cost, num_stages, np.maximum)
    if not np.isfinite(slowest_s):
        return None
    # Whole numbers add without rounding, so that what should tie does.
    squares = np.rint(np.square(cost / (slowest_s or 1.0)) * _SQUARE_UNITS)
    _, boundaries = _least(np.where(cost <= slowest_s, squares, np.inf), num_stages, np.add)
    return boundaries


def _least(cost: NDArray[np.float64], num_stages: int, combine: np.ufunc) -> tuple[float, tuple[int, ...]]:
    """F(s, k) = min over i of combine(F(s − 1, i − 1), cost(i, k)) and where it is taken."""
    num_layers = len(cost)
    best = np.full(num_layers + 1, np.inf)
    best[0] = 0.0
    first_layers = np.empty((num_stages, num_layers), dtype=np.int64)
    for stage in range(num_stages):
        candidates = combine(best[:num_layers, None], cost)
        first_layers[stage] = candidates.argmin(axis=0)
        best = np.concatenate(([np.inf], candidates.min(axis=0)))
    boundaries = [num_layers]
    for stage in reversed(range(num_stages)):
        boundaries.append(int(first_layers[stage, boundaries[-1] - 1]))
    return float(best[num_layers]), tuple(reversed(boundaries))


def equal_layers(num_layers: int, num_stages: int) -> tuple[int, ...]:
    """Boundaries of the cut with as many layers in each stage, up to one, whatever they cost.

    Raises:
        InvalidArgument: more stages than layers, or none.
    """
    _check_stages(num_layers, num_stages)
    return tuple(stage * num_layers // num_stages for stage in range(num_stages + 1))


def equal_blocks(num_layers: int, num_stages: int) -> tuple[int, ...]:
    """Boundaries with as many of the inner layers in each stage, up to one; the first layer (the embedding)
    joins the first stage and the last one (the head) the last, as when cutting by hand.

    Raises:
        InvalidArgument: more stages than inner layers, or none.
    """
    inner = equal_layers(num_layers - 2, num_stages)
    return 0, *(boundary + 1 for boundary in inner[1:-1]), num_layers


def imbalance_s(stage_latency_s: Sequence[float]) -> float:
    """Seconds that the stages wait for the slowest one: s · max − Σ (AlpaServe, section 3.3)."""
    return len(stage_latency_s) * max(stage_latency_s) - sum(stage_latency_s)


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
