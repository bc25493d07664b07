"""The batching that the AlpaServe simulator was published with, to compare with: one line per model, shared.

An arrival looks at the replica group whose last stage frees earliest: it is served there at once if that
group's first stage is idle, else it waits for any of its groups to fall idle. Decided here: at one instant,
groups that fall idle come before arrivals, the lowest group first; of equal heads the earlier line of
the workload wins; a request that is served at once is checked like a head, and goes alone though others may
wait for another group; a head is dropped when it is its group's choice and would be late alone; the batch
stops growing at the first profiled size that is too large; an idle group looks again only when it next
falls idle. Who is served late, as a batch's other members may be, has missed its SLO.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.batch_kernel import Batches
from services.core.kernel import Fates, Layout, Requests
from services.core.queues import NO_REQUEST, Queues, append, look_at, next_idle, pop
from services.core.schedule import Indices, Seconds, admits, commit, earliest_free, last_stage_end


class PublishedProgress(NamedTuple):
    """What the run mutates beside the lines, one per model: clocks and busy seconds, (num_stages,)."""

    free_at: NDArray[np.float64]
    busy_s: NDArray[np.float64]


def serve_published(
    requests: Requests, layout: Layout, batches: Batches, progress: PublishedProgress, queues: Queues, fates: Fates
) -> None:
    """Run all requests to their ends; fills `fates`, with the late finish of who is served late."""
    num_requests = len(requests.arrival_s)
    i = 0
    while True:
        now_s = requests.arrival_s[i] if i < num_requests else math.inf
        group = next_idle(now_s, queues.idle_s, queues.soonest_s)
        head = -1
        if group >= 0:
            now_s = queues.idle_s[group]
            queues.idle_s[group] = math.inf
        elif i == num_requests:
            break
        else:
            group = meet(i, requests, layout, progress, queues, fates)
            head = i
            i += 1
        if group >= 0:
            begin_published(now_s, group, head, requests, layout, batches, progress, queues, fates)


def meet(
    request: int, requests: Requests, layout: Layout, progress: PublishedProgress, queues: Queues, fates: Fates
) -> int:
    """Look for a request's group; returns it if it is idle, else -1, the request waiting."""
    model = requests.model[request]
    hosts = layout.host[layout.first_host[model] : layout.first_host[model + 1]]
    group = earliest_free(hosts, layout.first_stage, progress.free_at)
    fates.group[request] = group
    fates.finish_s[request] = np.nan
    if group < 0 or queues.idle_s[group] == math.inf:
        return group
    append(request, model, queues.head, queues.tail, queues.num_waiting, queues.behind)
    return -1


def begin_published(
    now_s: float,
    group: int,
    alone: int,
    requests: Requests,
    layout: Layout,
    batches: Batches,
    progress: PublishedProgress,
    queues: Queues,
    fates: Fates,
) -> None:
    """Begin the next batch of an idle group, or request `alone` if that is not -1; the group stays
    idle if nobody can be served. Execution starts the request overhead from now."""
    begin, end = layout.first_stage[group], layout.first_stage[group + 1]
    held = batches.held[batches.first_held[group] : batches.first_held[group + 1]]
    free_at, overhead_s = progress.free_at, layout.request_overhead_s
    is_over = False
    while not is_over:
        model = requests.model[alone] if alone >= 0 else earliest_model(held, queues.head)
        if model < 0:
            break
        head = alone if alone >= 0 else queues.head[model]
        num_waiting = 1 if alone >= 0 else queues.num_waiting[model]
        latency = batches.latency[layout.cost_row[model]]
        allowed_s = requests.slo_s[head]
        arrival_s = requests.arrival_s[head]
        chosen = published_size(
            now_s, overhead_s, arrival_s, allowed_s, num_waiting, batches.sizes, latency, free_at, begin, end
        )
        if chosen >= 0:
            commit(now_s + overhead_s, free_at, latency[chosen], begin, end)
            look_at(group, free_at[begin], queues.idle_s, queues.soonest_s)
            for k in range(begin, end):
                progress.busy_s[k] += latency[chosen, k]
        for _ in range(batches.sizes[max(chosen, 0)]):
            request = alone if alone >= 0 else pop(model, queues.head, queues.num_waiting, queues.behind)
            fates.group[request] = group
            if chosen >= 0:
                fates.finish_s[request] = free_at[end - 1]
        is_over = chosen >= 0 or alone >= 0


def earliest_model(held: NDArray[np.int32], head: NDArray[np.int32]) -> int:
    """The model whose head arrived first (the lowest request index); -1 if nobody waits."""
    chosen = -1
    earliest = NO_REQUEST
    for model in held:
        if head[model] < earliest:
            chosen = model
            earliest = head[model]
    return chosen


def published_size(
    now_s: float,
    overhead_s: float,
    arrival_s: float,
    slo_s: float,
    num_waiting: int,
    sizes: Indices,
    latency: Sequence[Seconds],
    free_at: Seconds,
    begin: int,
    end: int,
) -> int:
    """The largest batch that keeps its head's SLO, as an index into `sizes`; -1 if none does."""
    chosen = -1
    for s in range(len(latency)):
        if sizes[s] > num_waiting:
            break
        if math.isnan(latency[s][begin]):
            continue
        finish_s = last_stage_end(now_s, free_at, latency[s], begin, end) + overhead_s
        if not admits(finish_s, arrival_s, slo_s):
            break
        chosen = s
    return chosen
