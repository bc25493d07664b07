"""First-in-first-out lines of requests, flat, and the instants at which groups fall idle.

Plain functions in the subset that numba compiles; the batching kernels own and mutate the arrays.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The head of an empty line: behind every request.
NO_REQUEST = 2**31 - 1


class Queues(NamedTuple):
    """`head` (NO_REQUEST if empty), `tail` and `num_waiting` are (num_lines,), and `behind`
    (num_requests,) links a line's requests. `idle_s` (num_groups,) is when a group's first stage falls
    idle and has to look at its lines, infinite if it has not to; `soonest_s` (1,) is never later than
    the least of them."""

    head: NDArray[np.int32]
    tail: NDArray[np.int32]
    num_waiting: NDArray[np.int32]
    behind: NDArray[np.int32]
    idle_s: NDArray[np.float64]
    soonest_s: NDArray[np.float64]


def empty_queues(num_lines: int, num_groups: int, num_requests: int) -> Queues:
    return Queues(
        head=np.full(num_lines, NO_REQUEST, dtype=np.int32),
        tail=np.zeros(num_lines, dtype=np.int32),
        num_waiting=np.zeros(num_lines, dtype=np.int32),
        behind=np.zeros(num_requests, dtype=np.int32),
        idle_s=np.full(num_groups, math.inf),
        soonest_s=np.full(1, math.inf),
    )


def append(
    request: int,
    line: int,
    head: NDArray[np.int32],
    tail: NDArray[np.int32],
    num_waiting: NDArray[np.int32],
    behind: NDArray[np.int32],
) -> None:
    if num_waiting[line] == 0:
        head[line] = request
    else:
        behind[tail[line]] = request
    tail[line] = request
    num_waiting[line] += 1


def pop(line: int, head: NDArray[np.int32], num_waiting: NDArray[np.int32], behind: NDArray[np.int32]) -> int:
    """Take the head off a line that is not empty."""
    request = int(head[line])
    num_waiting[line] -= 1
    head[line] = behind[request] if num_waiting[line] else NO_REQUEST
    return request


def look_at(group: int, until_s: float, idle_s: NDArray[np.float64], soonest_s: NDArray[np.float64]) -> None:
    """Note that a group's first stage falls idle at `until_s`, when it looks at its lines."""
    idle_s[group] = until_s
    if until_s < soonest_s[0]:
        soonest_s[0] = until_s


def next_idle(until_s: float, idle_s: NDArray[np.float64], soonest_s: NDArray[np.float64]) -> int:
    """The group that falls idle first, by `until_s` at the latest; the lowest of equals, -1 if none.

    The caller sets `idle_s` of that group before the next call.
    """
    if soonest_s[0] > until_s:
        return -1
    chosen = -1
    least_s = math.inf
    for group in range(len(idle_s)):
        if idle_s[group] < least_s:
            chosen = group
            least_s = idle_s[group]
    soonest_s[0] = least_s
    return chosen if least_s <= until_s else -1
