"""What it takes to drain a line of requests that wait: the tables that `batching` looks up."""

import numpy as np
from numpy.typing import NDArray


def drain_tables(sizes: list[int], latency: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of 0 … max(sizes) waiting requests, cut into the largest batches: their seconds, and those of
    the last batch; both (num_profiles, max(sizes) + 1, num_stages).

    `latency` is (num_profiles, num_sizes, num_stages), seconds, NaN where a profile lacks a size above 1.
    """
    num_profiles, _, num_stages = latency.shape
    drain = np.zeros((num_profiles, sizes[-1] + 1, num_stages))
    last = np.zeros_like(drain)
    for count in range(1, sizes[-1] + 1):
        for s, size in enumerate(sizes):
            if size <= count:
                cost = latency[:, s]
                rest = drain[:, count - size]
                drain[:, count] = np.where(np.isnan(cost) & (s > 0), drain[:, count], cost + rest)
                ends = cost if size == count else last[:, count - size]
                last[:, count] = np.where(np.isnan(cost) & (s > 0), last[:, count], ends)
    return drain, last
