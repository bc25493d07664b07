"""The compiled simulator: the kernel and the rule's own functions, for counts or for every fate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core import kernel, schedule
from services.core.attainment import Outcome
from services.core.compiling import compiled
from services.core.kernel import Clocks, Fates, Layout, Requests, Tally, empty_tally, idle_clocks
from services.core.problem import Problem

# Callees before callers.
RULE = (
    schedule.last_stage_end,
    schedule.commit,
    schedule.admits,
    schedule.earliest_free,
    schedule.shortest_queue,
    schedule.earliest_finish,
    schedule.dispatch,
    kernel.forget_finished,
    kernel.remember,
    kernel.serve,
)

# Below so many requests, interpreting takes less time than compiling does first.
_WORTH_COMPILING = 20_000

Serve = Callable[[int, int, int, Requests, Layout, Clocks, Tally, Fates], None]


def compiled_serve() -> Serve:
    """`kernel.serve`, compiled."""
    serve: Serve = compiled(RULE)
    return serve


def warm_up(problem: Problem) -> None:
    """Compile now, so that the first simulation takes no longer than the others."""
    nothing = np.zeros((problem.num_models, 0), dtype=np.bool_)
    simulate_counts(problem, problem.layout(problem.lanes(()), nothing), schedule.EARLIEST_FREE)


def serve_once(num_requests: int) -> Serve:
    """The kernel that is done first if it is used only once: interpreted for small workloads."""
    return compiled_serve() if num_requests >= _WORTH_COMPILING else kernel.serve


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What a search needs of a run. `attained` (num_models,), `group_requests` and `group_attained`
    (num_groups,); `latency_s` is the sum over attained requests."""

    attained: NDArray[np.int64]
    group_requests: NDArray[np.int64]
    group_attained: NDArray[np.int64]
    latency_s: float


def simulate_counts(problem: Problem, layout: Layout, dispatch_rule: int, serve: Serve | None = None) -> Counts:
    """Simulate for counts alone. `serve` replaces the compiled kernel, by the interpreted one say."""
    tally, _, _ = _run(problem, layout, dispatch_rule, 0, serve or compiled_serve())
    return Counts(tally.attained, tally.group_requests, tally.group_attained, float(tally.latency_s[0]))


def simulate(problem: Problem, layout: Layout, dispatch_rule: int, serve: Serve | None = None) -> Outcome:
    """Simulate and tell every request's fate."""
    _, fates, clocks = _run(problem, layout, dispatch_rule, problem.num_requests, serve or compiled_serve())
    return Outcome(fates.group, fates.finish_s, clocks.free_at, busy_seconds(problem, layout, fates))


def busy_seconds(problem: Problem, layout: Layout, fates: Fates) -> NDArray[np.float64]:
    """How long each stage was busy with the admitted requests, one at a time; (num_stages,)."""
    num_groups, num_models = len(layout.first_stage) - 1, problem.num_models
    served = ~np.isnan(fates.finish_s)
    pair = fates.group[served] * num_models + problem.workload.model[served]
    num_served = np.bincount(pair, minlength=num_groups * num_models).reshape(num_groups, num_models)
    busy_s = np.zeros(layout.first_stage[-1])
    for group, model in np.argwhere(num_served):
        stages = slice(layout.first_stage[group], layout.first_stage[group + 1])
        busy_s[stages] += num_served[group, model] * layout.latency[layout.cost_row[model], stages]
    return busy_s


def _run(
    problem: Problem, layout: Layout, dispatch_rule: int, num_recorded: int, serve: Serve
) -> tuple[Tally, Fates, Clocks]:
    clocks = idle_clocks(layout, dispatch_rule, problem.num_requests)
    tally = empty_tally(problem.num_models, len(layout.first_stage) - 1)
    fates = Fates(group=np.empty(num_recorded, dtype=np.int32), finish_s=np.empty(num_recorded))
    serve(dispatch_rule, 0, problem.num_requests, problem.requests, layout, clocks, tally, fates)
    return tally, fates, clocks
