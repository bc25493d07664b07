"""One simulated run over flat arrays: dispatch, admission and commit of every request in turn.

Calls the rule's own text (`schedule`), interpreted here, compiled by `simulator`. Times are seconds;
the named tuples are arrays side by side because numba compiles those.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.schedule import SHORTEST_QUEUE, admits, commit, dispatch, last_stage_end


class Requests(NamedTuple):
    """What arrives: all (num_requests,), in order of arrival; an infinite `slo_s` is none."""

    arrival_s: NDArray[np.float64]
    model: NDArray[np.int32]
    slo_s: NDArray[np.float64]


class Layout(NamedTuple):
    """A placement, flat.

    Model m is held by the groups host[first_host[m] : first_host[m + 1]], lowest first, and costs
    latency[cost_row[m]]; group g owns the stages first_stage[g] … first_stage[g + 1] - 1.
    `latency` (num_profiles, num_stages) is NaN where a profile lacks the group's config.
    """

    first_stage: NDArray[np.int32]
    first_host: NDArray[np.int32]
    host: NDArray[np.int32]
    cost_row: NDArray[np.int32]
    latency: NDArray[np.float64]
    request_overhead_s: float


class Clocks(NamedTuple):
    """What the run mutates. Per group, a list of the admitted requests whose last stage may not be
    over: `oldest` and `newest` (num_groups,) index requests, `younger` and `stage_end_s`
    (num_requests,) carry the list; those two stay empty unless the rule counts queues."""

    free_at: NDArray[np.float64]
    num_in_flight: NDArray[np.int32]
    oldest: NDArray[np.int32]
    newest: NDArray[np.int32]
    younger: NDArray[np.int32]
    stage_end_s: NDArray[np.float64]


def idle_clocks(layout: Layout, rule: int, num_requests: int) -> Clocks:
    """Of groups that were idle for ever; lists only if the rule counts queues."""
    num_groups = len(layout.first_stage) - 1
    num_listed = num_requests if rule == SHORTEST_QUEUE else 0
    return Clocks(
        free_at=np.zeros(layout.first_stage[-1]),
        num_in_flight=np.zeros(num_groups, dtype=np.int32),
        oldest=np.zeros(num_groups, dtype=np.int32),
        newest=np.zeros(num_groups, dtype=np.int32),
        younger=np.empty(num_listed, dtype=np.int32),
        stage_end_s=np.empty(num_listed),
    )


class Tally(NamedTuple):
    """Counts of a run: `attained` (num_models,), `group_requests` and `group_attained` (num_groups,),
    `latency_s` (1,) the sum over attained requests."""

    attained: NDArray[np.int64]
    group_requests: NDArray[np.int64]
    group_attained: NDArray[np.int64]
    latency_s: NDArray[np.float64]


class Fates(NamedTuple):
    """Per request: `group` it was dispatched to, -1 if none holds its model, and `finish_s`, NaN if
    it was not admitted. Both (num_requests,), or empty when only counts are wanted."""

    group: NDArray[np.int32]
    finish_s: NDArray[np.float64]


def empty_tally(num_models: int, num_groups: int) -> Tally:
    return Tally(
        attained=np.zeros(num_models, dtype=np.int64),
        group_requests=np.zeros(num_groups, dtype=np.int64),
        group_attained=np.zeros(num_groups, dtype=np.int64),
        latency_s=np.zeros(1),
    )


def forget_finished(now_s: float, group: int, clocks: Clocks) -> None:
    """Drop the requests from a group's list whose last stage is over: each is dropped once."""
    while clocks.num_in_flight[group] > 0 and clocks.stage_end_s[clocks.oldest[group]] <= now_s:
        clocks.oldest[group] = clocks.younger[clocks.oldest[group]]
        clocks.num_in_flight[group] -= 1


def remember(request: int, stage_end_s: float, group: int, clocks: Clocks) -> None:
    """Append an admitted request to its group's list."""
    clocks.stage_end_s[request] = stage_end_s
    if clocks.num_in_flight[group] == 0:
        clocks.oldest[group] = request
    else:
        clocks.younger[clocks.newest[group]] = request
    clocks.newest[group] = request
    clocks.num_in_flight[group] += 1


def serve(
    rule: int, first: int, last: int, requests: Requests, layout: Layout, clocks: Clocks, tally: Tally, fates: Fates
) -> None:
    """Run the requests first … last - 1; `rule` indexes DISPATCH_RULES; goes on from `clocks` and
    `tally` and leaves them advanced; fills `fates`."""
    counts_queues = rule == SHORTEST_QUEUE
    is_recorded = len(fates.group) > 0
    for i in range(first, last):
        now_s = requests.arrival_s[i]
        model = requests.model[i]
        hosts = layout.host[layout.first_host[model] : layout.first_host[model + 1]]
        latency = layout.latency[layout.cost_row[model]]
        if counts_queues:
            for host in hosts:
                forget_finished(now_s, host, clocks)
        group = dispatch(rule, now_s, hosts, layout.first_stage, clocks.free_at, clocks.num_in_flight, latency)
        if is_recorded:
            fates.group[i] = group
            fates.finish_s[i] = np.nan
        if group < 0:
            continue
        tally.group_requests[group] += 1
        begin = layout.first_stage[group]
        end = layout.first_stage[group + 1]
        stage_end_s = last_stage_end(now_s, clocks.free_at, latency, begin, end)
        finish_s = stage_end_s + layout.request_overhead_s
        if not admits(finish_s, now_s, requests.slo_s[i]):
            continue
        commit(now_s, clocks.free_at, latency, begin, end)
        tally.attained[model] += 1
        tally.group_attained[group] += 1
        tally.latency_s[0] += finish_s - now_s
        if counts_queues:
            remember(i, stage_end_s, group, clocks)
        if is_recorded:
            fates.finish_s[i] = finish_s
