"""One simulated run with batching over flat arrays: each group keeps its own queue.

Calls the rule's own text (`schedule`, `batching`), interpreted here, compiled by `batched_simulator`.
A request is dispatched and admitted when it arrives. An idle group begins at once; at one instant,
groups that fall idle come before arrivals, the lowest group first.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.batching import batch_size, enter, join, planned_end
from services.core.kernel import Clocks, Fates, Layout, Requests, forget_finished, remember
from services.core.queues import NO_REQUEST, Queues, append, look_at, next_idle, pop
from services.core.schedule import SHORTEST_QUEUE, admits, dispatch


class Batches(NamedTuple):
    """What batching adds to a layout. Group g holds the models held[first_held[g] : first_held[g + 1]];
    line_of[g, m] is the place of model m there, and the line of its requests in the group's queue.
    `sizes` ascend from 1. By profile, `latency` (num_profiles, num_sizes, num_stages), and `drain` and
    `last` (num_profiles, max size + 1, num_stages) are what `batching` takes, in seconds."""

    first_held: NDArray[np.int32]
    held: NDArray[np.int32]
    line_of: NDArray[np.int32]
    sizes: NDArray[np.int32]
    latency: NDArray[np.float64]
    drain: NDArray[np.float64]
    last: NDArray[np.float64]


class Progress(NamedTuple):
    """What the run mutates beside the clocks of what has begun: `planned` and `busy_s` (num_stages,),
    `in_flight` and `num_queued` (num_groups,)."""

    planned: NDArray[np.float64]
    busy_s: NDArray[np.float64]
    in_flight: NDArray[np.int32]
    num_queued: NDArray[np.int32]


def serve_batched(
    rule: int,
    requests: Requests,
    layout: Layout,
    batches: Batches,
    clocks: Clocks,
    progress: Progress,
    queues: Queues,
    fates: Fates,
) -> None:
    """Run all requests to their ends; `rule` indexes DISPATCH_RULES; fills `fates`."""
    num_requests = len(requests.arrival_s)
    i = 0
    while True:
        now_s = requests.arrival_s[i] if i < num_requests else math.inf
        group = next_idle(now_s, queues.idle_s, queues.soonest_s)
        if group >= 0:
            now_s = queues.idle_s[group]
        elif i == num_requests:
            break
        else:
            group = arrive(i, rule, requests, layout, batches, clocks, progress, queues, fates)
            i += 1
        if group >= 0:
            begin_batch(now_s, group, rule, requests, layout, batches, clocks, progress, queues, fates)


def arrive(
    request: int,
    rule: int,
    requests: Requests,
    layout: Layout,
    batches: Batches,
    clocks: Clocks,
    progress: Progress,
    queues: Queues,
    fates: Fates,
) -> int:
    """Dispatch and admit a request; returns its group if that can begin at once, else -1."""
    now_s = requests.arrival_s[request]
    model = requests.model[request]
    row = layout.cost_row[model]
    hosts = layout.host[layout.first_host[model] : layout.first_host[model + 1]]
    if rule == SHORTEST_QUEUE:
        for host in hosts:
            forget_finished(now_s, host, clocks)
            progress.in_flight[host] = clocks.num_in_flight[host] + progress.num_queued[host]
    group = dispatch(rule, now_s, hosts, layout.first_stage, progress.planned, progress.in_flight, layout.latency[row])
    fates.group[request] = group
    fates.finish_s[request] = np.nan
    if group < 0:
        return -1
    begin, end = layout.first_stage[group], layout.first_stage[group + 1]
    line = batches.line_of[group, model]
    num_waiting = queues.num_waiting[line]
    drain, last = batches.drain[row], batches.last[row]
    end_s = planned_end(now_s, progress.planned, num_waiting, drain, last, begin, end)
    if not admits(end_s + layout.request_overhead_s, now_s, requests.slo_s[request]):
        return -1
    join(now_s, progress.planned, num_waiting, drain, last, begin, end)
    append(request, line, queues.head, queues.tail, queues.num_waiting, queues.behind)
    progress.num_queued[group] += 1
    if clocks.free_at[begin] <= now_s:
        return group
    if progress.num_queued[group] == 1:
        look_at(group, clocks.free_at[begin], queues.idle_s, queues.soonest_s)
    return -1


def begin_batch(
    now_s: float,
    group: int,
    rule: int,
    requests: Requests,
    layout: Layout,
    batches: Batches,
    clocks: Clocks,
    progress: Progress,
    queues: Queues,
    fates: Fates,
) -> None:
    """Begin the next batch of a group whose first stage is idle and whose queue is not empty.

    The model of the earliest request is served; a head that is too late even alone is dropped.
    """
    begin, end = layout.first_stage[group], layout.first_stage[group + 1]
    first, beyond = batches.first_held[group], batches.first_held[group + 1]
    is_begun = False
    while progress.num_queued[group] > 0 and not is_begun:
        line = earliest_line(first, beyond, -1, queues.head)
        other = earliest_line(first, beyond, line, queues.head) if queues.num_waiting[line] > 1 else -1
        chosen = choose(now_s, line, other, begin, end, requests, layout, batches, clocks, queues)
        is_begun = chosen >= 0
        size = batches.sizes[max(chosen, 0)]
        advance(now_s, line, chosen, begin, end, layout, batches, clocks, progress, queues)
        progress.num_queued[group] -= size
        for _ in range(size):
            request = pop(line, queues.head, queues.num_waiting, queues.behind)
            if is_begun:
                fates.finish_s[request] = clocks.free_at[end - 1] + layout.request_overhead_s
            if is_begun and rule == SHORTEST_QUEUE:
                remember(request, clocks.free_at[end - 1], group, clocks)
    queues.idle_s[group] = math.inf
    if progress.num_queued[group] > 0:
        look_at(group, clocks.free_at[begin], queues.idle_s, queues.soonest_s)
    else:
        for k in range(begin, end):
            progress.planned[k] = clocks.free_at[k]


def choose(
    now_s: float,
    line: int,
    other: int,
    begin: int,
    end: int,
    requests: Requests,
    layout: Layout,
    batches: Batches,
    clocks: Clocks,
    queues: Queues,
) -> int:
    """The batch to take off a line, as an index into the sizes, -1 to drop its head; `other` is the
    group's line with the next head, -1 without one."""
    row = layout.cost_row[batches.held[line]]
    return batch_size(
        now_s,
        layout.request_overhead_s,
        queues.head[line],
        queues.num_waiting[line],
        batches.sizes,
        batches.latency[row],
        queues.head[other] if other >= 0 else -1,
        layout.latency[layout.cost_row[batches.held[other]] if other >= 0 else row],
        queues.behind,
        requests.arrival_s,
        requests.slo_s,
        clocks.free_at,
        begin,
        end,
    )


def advance(
    now_s: float,
    line: int,
    chosen: int,
    begin: int,
    end: int,
    layout: Layout,
    batches: Batches,
    clocks: Clocks,
    progress: Progress,
    queues: Queues,
) -> None:
    """Send a batch through the stages, or none if `chosen` is -1, and keep the planned clocks right."""
    row = layout.cost_row[batches.held[line]]
    latency, num_waiting = batches.latency[row], queues.num_waiting[line]
    enter(
        now_s,
        clocks.free_at,
        progress.planned,
        num_waiting,
        chosen,
        batches.sizes,
        latency,
        batches.drain[row],
        begin,
        end,
    )
    if chosen >= 0:
        for k in range(begin, end):
            progress.busy_s[k] += latency[chosen, k]


def earliest_line(first: int, beyond: int, other_than: int, head: NDArray[np.int32]) -> int:
    """Of a group's lines first … beyond - 1, `other_than` left out, the one whose head arrived first
    (the lowest request index); -1 if all are empty."""
    chosen = -1
    earliest = NO_REQUEST
    for line in range(first, beyond):
        if head[line] < earliest and line != other_than:
            chosen = line
            earliest = head[line]
    return chosen
