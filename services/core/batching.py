"""The batching rule: whom a group with a queue admits, and what it serves next (goes beyond AlpaServe, section 4.3).

Plain functions in the subset that numba compiles, as `schedule`. A group's queue is one first-in-first-out
line per model. Of one model on one group there are `latency[s][k]`, seconds of a batch of sizes[s] in stage k,
NaN where the profile lacks the size; `drain[c][k]`, seconds that c waiting requests keep stage k busy, cut into
the largest batches; `last[c][k]`, those of the last of these batches. `planned` are the clocks after the queue.
"""

import math
from collections.abc import Sequence

from services.core.schedule import Clocks, Indices, Seconds, admits, commit, last_stage_end


def beyond_rounds(num_waiting: int, most: int) -> int:
    """How many of the waiting requests are more than whole rounds of the largest size."""
    return num_waiting if num_waiting < most else num_waiting % most


def planned_end(
    now_s: float,
    planned: Seconds,
    num_waiting: int,
    drain: Sequence[Seconds],
    last: Sequence[Seconds],
    begin: int,
    end: int,
) -> float:
    """When a request that joins `num_waiting` of its model is to leave stage `end - 1`.

    An estimate, unless every batch is a single request: then it is `last_stage_end`, bit for bit.
    """
    part = beyond_rounds(num_waiting, len(drain) - 1)
    t = now_s
    for k in range(begin, end):
        t += last[part + 1][k]
        queued = planned[k] + (drain[part + 1][k] - drain[part][k])
        if queued > t:
            t = queued
    return t


def join(
    now_s: float,
    planned: Clocks,
    num_waiting: int,
    drain: Sequence[Seconds],
    last: Sequence[Seconds],
    begin: int,
    end: int,
) -> None:
    """Advance the planned clocks by a request that joins the queue, in place."""
    part = beyond_rounds(num_waiting, len(drain) - 1)
    t = now_s
    for k in range(begin, end):
        t += last[part + 1][k]
        queued = planned[k] + (drain[part + 1][k] - drain[part][k])
        if queued > t:
            t = queued
        planned[k] = t


def keep_slos(finish_s: float, head: int, size: int, behind: Indices, arrival_s: Seconds, slo_s: Seconds) -> bool:
    """Whether the first `size` requests of a line, from its head on, all keep their SLOs."""
    request = head
    for _ in range(size):
        if not admits(finish_s, arrival_s[request], slo_s[request]):
            return False
        request = behind[request]
    return True


def end_behind(now_s: float, free_at: Seconds, batch: Seconds, rival: Seconds, begin: int, end: int) -> float:
    """When a request of stage latencies `rival` leaves the last stage if a batch enters before it."""
    ahead = now_s
    t = now_s
    for k in range(begin, end):
        if free_at[k] > ahead:
            ahead = free_at[k]
        ahead += batch[k]
        if ahead > t:
            t = ahead
        t += rival[k]
    return t


def largest_size(num_waiting: int, sizes: Indices, latency: Sequence[Seconds], begin: int) -> int:
    """The index of the largest size that is profiled and has so many requests waiting; -1 if none."""
    largest = -1
    for s in range(len(latency)):
        if sizes[s] > num_waiting:
            break
        if not math.isnan(latency[s][begin]):
            largest = s
    return largest


def batch_size(
    now_s: float,
    overhead_s: float,
    head: int,
    num_waiting: int,
    sizes: Indices,
    latency: Sequence[Seconds],
    rival: int,
    rival_latency: Seconds,
    behind: Indices,
    arrival_s: Seconds,
    slo_s: Seconds,
    free_at: Seconds,
    begin: int,
    end: int,
) -> int:
    """The batch to begin now, as an index into `sizes`; -1 if the line's head cannot keep its SLO alone.

    Grows over the profiled sizes while as many wait, every member keeps its SLO, and `rival`, the
    earliest head of the group's other lines (-1 without one), does not lose its SLO by the growth.
    """
    chosen = -1
    rival_in_time = False
    for s in range(len(latency)):
        if sizes[s] > num_waiting:
            break
        if math.isnan(latency[s][begin]):
            continue
        finish_s = last_stage_end(now_s, free_at, latency[s], begin, end) + overhead_s
        if not keep_slos(finish_s, head, sizes[s], behind, arrival_s, slo_s):
            break
        if rival >= 0:
            rival_s = end_behind(now_s, free_at, latency[s], rival_latency, begin, end) + overhead_s
            was_in_time = rival_in_time
            rival_in_time = admits(rival_s, arrival_s[rival], slo_s[rival])
            if was_in_time and not rival_in_time:
                break
        chosen = s
    return chosen


def drained_s(count: int, drain: Sequence[Seconds], stage: int) -> float:
    """How long `count` waiting requests keep a stage busy; `drain` repeats beyond its end."""
    most = len(drain) - 1
    return (count // most) * drain[most][stage] + drain[count % most][stage]


def release(planned: Clocks, num_waiting: int, num_left: int, drain: Sequence[Seconds], begin: int, end: int) -> None:
    """Take back, in place, what the planned clocks hold of the requests that left a line, `num_left` staying."""
    for k in range(begin, end):
        planned[k] -= drained_s(num_waiting, drain, k) - drained_s(num_left, drain, k)


def prolong(planned: Clocks, free_at: Seconds, batch: Seconds, begin: int, end: int) -> None:
    """Add a batch that was not planned to the planned clocks, in place; it has entered `free_at`."""
    for k in range(begin, end):
        planned[k] += batch[k]
        if planned[k] < free_at[k]:
            planned[k] = free_at[k]


def enter(
    now_s: float,
    free_at: Clocks,
    planned: Clocks,
    num_waiting: int,
    chosen: int,
    sizes: Indices,
    latency: Sequence[Seconds],
    drain: Sequence[Seconds],
    begin: int,
    end: int,
) -> None:
    """Send a batch of sizes[chosen] off a line of `num_waiting` through the stages, or only drop the head
    if `chosen` is -1: advance what has begun and keep the planned clocks right, in place."""
    is_planned = chosen == largest_size(num_waiting, sizes, latency, begin)
    if not is_planned:
        release(planned, num_waiting, num_waiting - sizes[max(chosen, 0)], drain, begin, end)
    if chosen >= 0:
        commit(now_s, free_at, latency[chosen], begin, end)
        if not is_planned:
            prolong(planned, free_at, latency[chosen], begin, end)
