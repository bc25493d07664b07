"""The rule: dispatch and first-come-first-served admission over stage clocks (AlpaServe, section 4.3).

Plain functions in the subset that numba compiles: router and worker interpret them, the simulator
compiles them. Every group's stages lie side by side in flat arrays: group g owns the stages
first_stage[g] … first_stage[g + 1] - 1 of `free_at` (clocks, seconds) and of `latency` (one model's
stage latencies, seconds, on every group).
"""

from collections.abc import Iterator
from typing import Protocol

EARLIEST_FREE = 0
SHORTEST_QUEUE = 1
EARLIEST_FINISH = 2
DISPATCH_RULES = ("earliest-free", "shortest-queue", "earliest-finish")


class Seconds(Protocol):
    """Clocks or latencies that are read: a list in the services, an array in the simulator."""

    def __getitem__(self, index: int, /) -> float: ...


class Clocks(Seconds, Protocol):
    """Clocks that are advanced in place."""

    def __setitem__(self, index: int, value: float, /) -> None: ...


class Indices(Protocol):
    """Groups, stages or counts: a list or an array."""

    def __getitem__(self, index: int, /) -> int: ...

    def __iter__(self) -> Iterator[int]: ...


def last_stage_end(now_s: float, free_at: Seconds, latency: Seconds, begin: int, end: int) -> float:
    """When a request that enters stage `begin` now leaves stage `end - 1`."""
    t = now_s
    for k in range(begin, end):
        if free_at[k] > t:
            t = free_at[k]
        t += latency[k]
    return t


def commit(now_s: float, free_at: Clocks, latency: Seconds, begin: int, end: int) -> None:
    """Advance the clocks of the stages that a request passes through, in place."""
    t = now_s
    for k in range(begin, end):
        if free_at[k] > t:
            t = free_at[k]
        t += latency[k]
        free_at[k] = t


def admits(finish_s: float, arrival_s: float, slo_s: float) -> bool:
    """Whether a predicted finish keeps the SLO; an infinite SLO admits everything."""
    return finish_s - arrival_s <= slo_s


def earliest_free(hosts: Indices, first_stage: Indices, free_at: Seconds) -> int:
    """The host whose last stage has the smallest clock, not clamped to now; -1 without hosts."""
    chosen = -1
    earliest = 0.0
    for g in hosts:
        clock = free_at[first_stage[g + 1] - 1]
        if chosen < 0 or clock < earliest:
            chosen = g
            earliest = clock
    return chosen


def shortest_queue(hosts: Indices, num_in_flight: Indices) -> int:
    """The host with the fewest admitted requests whose last stage is not over; -1 without hosts."""
    chosen = -1
    fewest = 0
    for g in hosts:
        if chosen < 0 or num_in_flight[g] < fewest:
            chosen = g
            fewest = num_in_flight[g]
    return chosen


def earliest_finish(
    now_s: float,
    hosts: Indices,
    first_stage: Indices,
    free_at: Seconds,
    latency: Seconds,
) -> int:
    """The host that is predicted to finish the request first; -1 without hosts."""
    chosen = -1
    earliest = 0.0
    for g in hosts:
        finish = last_stage_end(now_s, free_at, latency, first_stage[g], first_stage[g + 1])
        if chosen < 0 or finish < earliest:
            chosen = g
            earliest = finish
    return chosen


def dispatch(
    rule: int,
    now_s: float,
    hosts: Indices,
    first_stage: Indices,
    free_at: Seconds,
    num_in_flight: Indices,
    latency: Seconds,
) -> int:
    """The group that the rule (an index into DISPATCH_RULES) names; ties go to the first host."""
    if rule == EARLIEST_FREE:
        return earliest_free(hosts, first_stage, free_at)
    if rule == SHORTEST_QUEUE:
        return shortest_queue(hosts, num_in_flight)
    return earliest_finish(now_s, hosts, first_stage, free_at, latency)
