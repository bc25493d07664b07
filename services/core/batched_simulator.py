"""The compiled simulator of batching, ours and the published: the tables, the kernels, one run."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.core import batch_kernel, kernel, published_batching, queues, schedule
from services.core import batching as batching_rule
from services.core.attainment import Outcome
from services.core.batch_kernel import Batches, Progress
from services.core.compiling import compiled
from services.core.drain import drain_tables
from services.core.errors import InvalidArgument
from services.core.kernel import Clocks, Fates, Layout, Requests, idle_clocks
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.published_batching import PublishedProgress
from services.core.queues import Queues, empty_queues
from services.core.schedule import DISPATCH_RULES, EARLIEST_FREE
from services.core.simulator import serve_once, simulate, simulate_counts

OURS = "ours"
PUBLISHED = "published"
BATCHING_RULES = (OURS, PUBLISHED)
DEFAULT_MAX_BATCH_SIZE = 16
_PUBLISHED_SIZES = (1, 2, 4, 8, 16)

# Below so many requests, interpreting takes less time than compiling does first.
_WORTH_COMPILING = 50_000

# Callees before callers, all of them inlined.
_RULE = (
    schedule.last_stage_end,
    schedule.commit,
    schedule.admits,
    schedule.earliest_free,
    queues.append,
    queues.pop,
    queues.look_at,
    queues.next_idle,
)
BATCHED = (
    *_RULE,
    schedule.shortest_queue,
    schedule.earliest_finish,
    schedule.dispatch,
    kernel.forget_finished,
    kernel.remember,
    batching_rule.beyond_rounds,
    batching_rule.planned_end,
    batching_rule.join,
    batching_rule.keep_slos,
    batching_rule.end_behind,
    batching_rule.largest_size,
    batching_rule.drained_s,
    batching_rule.release,
    batching_rule.prolong,
    batching_rule.enter,
    batching_rule.batch_size,
    batch_kernel.earliest_line,
    batch_kernel.choose,
    batch_kernel.advance,
    batch_kernel.arrive,
    batch_kernel.begin_batch,
    batch_kernel.serve_batched,
)
PUBLISHED_BATCHED = (
    *_RULE,
    published_batching.earliest_model,
    published_batching.published_size,
    published_batching.meet,
    published_batching.begin_published,
    published_batching.serve_published,
)

ServeBatched = Callable[[int, Requests, Layout, Batches, Clocks, Progress, Queues, Fates], None]
ServePublished = Callable[[Requests, Layout, Batches, PublishedProgress, Queues, Fates], None]


@dataclass(frozen=True, slots=True)
class Batching:
    """Batches of up to `max_size` requests of one model, by one of BATCHING_RULES."""

    max_size: int = DEFAULT_MAX_BATCH_SIZE
    rule: str = OURS

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise InvalidArgument(f"a batch has at least one request, got {self.max_size}")
        if self.rule not in BATCHING_RULES:
            raise InvalidArgument(f"unknown batching rule {self.rule!r}; there are: {', '.join(BATCHING_RULES)}")

    def check_dispatch(self, dispatch: str) -> None:
        """Raises: InvalidArgument if the rule cannot be had with the dispatch that was asked for."""
        if self.rule == PUBLISHED and dispatch != DISPATCH_RULES[EARLIEST_FREE]:
            raise InvalidArgument(f"the published batching dispatches {DISPATCH_RULES[EARLIEST_FREE]}, not {dispatch}")


def batching_of(max_size: int | None, rule: str | None) -> Batching | None:
    """What a user asked for: none if neither is given, else the default for what is not.

    Raises: InvalidArgument.
    """
    if max_size is None and rule is None:
        return None
    return Batching(DEFAULT_MAX_BATCH_SIZE if max_size is None else max_size, OURS if rule is None else rule)


def batching_for(placement: Placement, asked: Batching | None = None) -> Batching | None:
    """What was asked for, else what the placement allows its groups; none if they serve one by one."""
    if asked is None and placement.max_batch_size > 1:
        return Batching(placement.max_batch_size)
    return asked


@dataclass(frozen=True, slots=True)
class BatchKernels:
    """The two kernels, compiled or interpreted."""

    ours: ServeBatched
    published: ServePublished


INTERPRETED = BatchKernels(batch_kernel.serve_batched, published_batching.serve_published)


def compiled_kernels() -> BatchKernels:
    return BatchKernels(compiled(BATCHED), compiled(PUBLISHED_BATCHED))


def kernels_once(num_requests: int) -> BatchKernels:
    """The kernels that are done first if they are used only once: interpreted for small workloads."""
    return compiled_kernels() if num_requests >= _WORTH_COMPILING else INTERPRETED


def simulate_batched(
    problem: Problem, placement: Placement, batching: Batching, kernels: BatchKernels | None = None
) -> Outcome:
    """Simulate and tell every request's fate. The published rule has its own dispatch.

    Raises: InvalidPlacement, UnknownProfile or DoesNotFit if the placement cannot be.
    """
    chosen = kernels or compiled_kernels()
    requests, num_requests = problem.requests, problem.num_requests
    layout = problem.placement_layout(placement)
    batches = batch_tables(problem, placement, layout, batching)
    num_groups, num_stages = len(placement.groups), int(layout.first_stage[-1])
    fates = Fates(np.empty(num_requests, dtype=np.int32), np.empty(num_requests))
    busy_s = np.zeros(num_stages)
    if batching.rule == PUBLISHED:
        lines = empty_queues(problem.num_models, num_groups, num_requests)
        shared = PublishedProgress(np.zeros(num_stages), busy_s)
        chosen.published(requests, layout, batches, shared, lines, fates)
        return Outcome(fates.group, fates.finish_s, shared.free_at, busy_s)
    lines = empty_queues(len(batches.held), num_groups, num_requests)
    clocks = idle_clocks(layout, placement.dispatch_rule, num_requests)
    progress = Progress(
        planned=np.zeros(num_stages),
        busy_s=busy_s,
        in_flight=np.zeros(num_groups, dtype=np.int32),
        num_queued=np.zeros(num_groups, dtype=np.int32),
    )
    chosen.ours(placement.dispatch_rule, requests, layout, batches, clocks, progress, lines, fates)
    return Outcome(fates.group, fates.finish_s, clocks.free_at, busy_s)


def simulate_as_placed(problem: Problem, placement: Placement, asked: Batching | None = None) -> Outcome:
    """Simulate once, in the batches that are asked for, else in those that the placement allows.

    Raises: as `simulate_batched`.
    """
    batching = batching_for(placement, asked)
    if batching is not None:
        return simulate_batched(problem, placement, batching, kernels_once(problem.num_requests))
    layout = problem.placement_layout(placement)
    return simulate(problem, layout, placement.dispatch_rule, serve_once(problem.num_requests))


def attained_share(problem: Problem, placement: Placement) -> float:
    """The share of all requests that keep their SLOs, in batches if the placement allows any.

    Raises: as `simulate_batched`.
    """
    batching = batching_for(placement)
    if batching is None:
        counts = simulate_counts(problem, problem.placement_layout(placement), placement.dispatch_rule)
        return int(counts.attained.sum()) / problem.num_requests
    outcome = simulate_batched(problem, placement, batching, kernels_once(problem.num_requests))
    return int(outcome.attained(problem).sum()) / problem.num_requests


def batch_tables(problem: Problem, placement: Placement, layout: Layout, batching: Batching) -> Batches:
    """The batch sizes that some profile has, and what they cost where it does."""
    sizes = _sizes(problem, batching)
    latency = np.full((len(problem.profile_names), len(sizes), int(layout.first_stage[-1])), math.nan)
    for g, group in enumerate(placement.groups):
        stages = slice(layout.first_stage[g], layout.first_stage[g + 1])
        for row, name in enumerate(problem.profile_names):
            for s, size in enumerate(sizes):
                if problem.profiles[name].find(group.config, size) is not None:
                    latency[row, s, stages] = problem.profiles.stage_latency_s(name, group.config, size)
    drain, last = drain_tables(sizes, latency)
    index_of = {name: m for m, name in enumerate(problem.spec.names)}
    held_by = [sorted(index_of[name] for name in group.models) for group in placement.groups]
    first_held = np.zeros(len(held_by) + 1, dtype=np.int32)
    np.cumsum([len(models) for models in held_by], out=first_held[1:])
    held = np.array([m for models in held_by for m in models], dtype=np.int32)
    line_of = np.full((len(held_by), problem.num_models), -1, dtype=np.int32)
    for g, models in enumerate(held_by):
        line_of[g, models] = np.arange(first_held[g], first_held[g + 1])
    return Batches(first_held, held, line_of, np.array(sizes, dtype=np.int32), latency, drain, last)


def _sizes(problem: Problem, batching: Batching) -> list[int]:
    stages = (stage for name in problem.profile_names for stage in problem.profiles[name].stages)
    profiled = {stage.batch_size for stage in stages if stage.batch_size <= batching.max_size} | {1}
    return sorted(profiled & set(_PUBLISHED_SIZES) if batching.rule == PUBLISHED else profiled)
