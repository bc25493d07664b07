"""Linear programmes whose optimum is only ever overstated: what is told follows from the prices.

Any prices of the rows, however roughly solved, prove an upper bound (weak duality).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAX_ITERATIONS = 100_000


class Rows(NamedTuple):
    """Rows of `matrix @ x <= most`: entries (row, column, value), and `most` (num_rows,)."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: NDArray[Any]
    most: NDArray[Any]


def highest(gain: NDArray[np.float64], upper: NDArray[np.float64], blocks: Sequence[Rows]) -> float:
    """At least the most that `gain @ x` can be with 0 <= x <= `upper` and the rows of all blocks."""
    # SciPy takes a moment to import, so that waits until something is solved.
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    first = np.cumsum([0, *(len(block.most) for block in blocks)])
    row = np.concatenate([block.row + at for block, at in zip(blocks, first, strict=False)])
    column = np.concatenate([block.column for block in blocks])
    value = np.concatenate([block.value for block in blocks]).astype(np.float64)
    most = np.concatenate([block.most for block in blocks]).astype(np.float64)
    matrix = csr_array((value, (row, column)), shape=(len(most), len(gain)))
    box = np.column_stack([np.zeros(len(upper)), upper])
    solved = linprog(-gain, matrix, most, bounds=box, method="highs", options={"maxiter": _MAX_ITERATIONS})
    if solved.ineqlin.marginals is None:
        return float(gain @ upper)
    prices = np.maximum(-np.nan_to_num(solved.ineqlin.marginals), 0.0)
    return float(most @ prices + upper @ np.maximum(gain - matrix.T @ prices, 0.0))
