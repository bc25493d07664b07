"""What an operator asks of a run: attainment, goodput, latency, per-model and per-group rows.

Simulation and replay of the real system report with the same functions, so their figures compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.placement import Placement
from services.core.problem import Problem
from services.core.profile import ParallelConfig


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of every request, (num_requests,) each.

    `group` is -1 where no group holds the model; `finish_s` is NaN where not `admitted` or dropped;
    `stage_free_s` (num_stages,) are the clocks after the last request, `stage_busy_s` the sums of
    what the stages ran.
    """

    group: NDArray[np.int32]
    finish_s: NDArray[np.float64]
    stage_free_s: NDArray[np.float64]
    stage_busy_s: NDArray[np.float64]

    @property
    def admitted(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.finish_s)

    def attained(self, problem: Problem) -> NDArray[np.bool_]:
        """Who finished within its SLO: the admitted, unless a rule of batching serves some late."""
        return np.asarray(self.finish_s - problem.workload.arrival_s <= problem.slo_s, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Seconds over attained requests; None when there are none. Percentiles are linear."""

    mean: float | None
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class ModelAttainment:
    """`attainment` is None for a model without requests."""

    attainment: float | None
    num_requests: int


@dataclass(frozen=True, slots=True)
class GroupAttainment:
    """`num_requests` counts what was dispatched to the group; `stage_busy_share` is each stage's
    busy share of the time from the first arrival to the last arrival or stage end of the run."""

    num_requests: int
    num_attained: int
    stage_busy_share: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Field names are the keys of the document; `dataclasses.asdict` makes it.

    Every request counts, rejected ones as missed; `goodput_per_s` is None when all arrive at once.
    """

    attainment: float
    num_requests: int
    goodput_per_s: float | None
    latency_s: LatencySummary
    models: dict[str, ModelAttainment]
    groups: tuple[GroupAttainment, ...]


def summarize_latency(latency_s: NDArray[np.float64]) -> LatencySummary:
    """Summarize the latencies (num_attained,) of attained requests."""
    if not len(latency_s):
        return LatencySummary(None, None, None)
    p50, p99 = np.percentile(latency_s, [50, 99])
    return LatencySummary(float(np.mean(latency_s)), float(p50), float(p99))


def goodput_per_s(num_attained: int, arrival_s: NDArray[np.float64]) -> float | None:
    """Attained requests per second between the first and the last arrival of `arrival_s`, sorted."""
    span_s = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) else 0.0
    return num_attained / span_s if span_s > 0 else None


def model_rows(
    names: Sequence[str], model: NDArray[np.int32], attained: NDArray[np.bool_]
) -> dict[str, ModelAttainment]:
    """A row per name; `model` and `attained` are (num_requests,), `model` indexes `names`."""
    num_requests = np.bincount(model, minlength=len(names))
    num_attained = np.bincount(model[attained], minlength=len(names))
    return {
        name: ModelAttainment(int(served) / int(count) if count else None, int(count))
        for name, count, served in zip(names, num_requests, num_attained, strict=True)
    }


def report(problem: Problem, placement: Placement, outcome: Outcome, num_warm_up: int = 0) -> Report:
    """Summarize a simulated run of `placement`."""
    return report_groups(problem, [group.config for group in placement.groups], outcome, num_warm_up)


def report_groups(
    problem: Problem, configs: Sequence[ParallelConfig], outcome: Outcome, num_warm_up: int = 0
) -> Report:
    """Summarize a simulated run on groups of these configs, in the outcome's order.

    The first `num_warm_up` requests, fewer than all, count in the groups' rows only.
    """
    attained = outcome.attained(problem)
    arrival_s = problem.workload.arrival_s
    counted = slice(num_warm_up, None)
    num_attained, num_requests = int(np.count_nonzero(attained[counted])), problem.num_requests - num_warm_up
    return Report(
        attainment=num_attained / num_requests,
        num_requests=num_requests,
        goodput_per_s=goodput_per_s(num_attained, arrival_s[counted]),
        latency_s=summarize_latency((outcome.finish_s - arrival_s)[counted][attained[counted]]),
        models=model_rows(problem.spec.names, problem.workload.model[counted], attained[counted]),
        groups=_group_rows(arrival_s, configs, outcome, attained),
    )


def _group_rows(
    arrival_s: NDArray[np.float64],
    configs: Sequence[ParallelConfig],
    outcome: Outcome,
    attained: NDArray[np.bool_],
) -> tuple[GroupAttainment, ...]:
    end_s = max(float(arrival_s[-1]), float(outcome.stage_free_s.max(initial=0.0)))
    horizon_s = end_s - float(arrival_s[0])
    share = outcome.stage_busy_s / horizon_s if horizon_s > 0 else np.zeros_like(outcome.stage_busy_s)
    num_requests = np.bincount(outcome.group[outcome.group >= 0], minlength=len(configs))
    num_attained = np.bincount(outcome.group[attained], minlength=len(configs))
    rows = []
    end = 0
    for g, config in enumerate(configs):
        begin, end = end, end + config.inter_op
        rows.append(GroupAttainment(int(num_requests[g]), int(num_attained[g]), tuple(share[begin:end].tolist())))
    return tuple(rows)
