"""Who ran where when, predicted or measured, as columns that a timeline is drawn from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.attainment import Outcome
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.records import LATE, SERVED, Record
from services.core.stage_runs import stage_runs

# Where a request is shown that no group took.
NOWHERE = "no group"


@dataclass(frozen=True, slots=True)
class Lane:
    """The rows of one group, from top to bottom."""

    name: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Bars: columns (num_runs,). `lane` and `row` say where; `is_late` whose request missed its deadline."""

    lane: NDArray[np.int64]
    row: NDArray[np.int64]
    model: NDArray[np.int64]
    num_requests: NDArray[np.int64]
    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    is_late: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Misses:
    """Requests that missed their SLO: columns (num_misses,); `kind` is the word for how, `at_s` when they arrived."""

    lane: NDArray[np.int64]
    model: NDArray[np.int64]
    at_s: NDArray[np.float64]
    kind: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """A whole run; `models` are what the columns index."""

    models: tuple[str, ...]
    lanes: tuple[Lane, ...]
    runs: Runs
    misses: Misses
    end_s: float


def predicted_schedule(
    problem: Problem, placement: Placement, outcome: Outcome, group_names: Sequence[str] = ()
) -> Schedule:
    """What the simulator reckons with: a row per stage."""
    found = stage_runs(problem, placement, outcome)
    attained = outcome.attained(problem)
    names = list(group_names) or [str(index) for index in range(len(placement.groups))]
    lanes = [
        Lane(f"{name} · {group.config}", tuple(f"stage {k}" for k in range(group.config.inter_op)))
        for name, group in zip(names, placement.groups, strict=True)
    ]
    missed = np.flatnonzero(~attained)
    lane = outcome.group[missed].astype(np.int64)
    if (lane < 0).any():
        lanes.append(Lane(NOWHERE, ()))
        lane = np.where(lane < 0, len(lanes) - 1, lane)
    arrival_s, model = problem.workload.arrival_s, problem.workload.model.astype(np.int64)
    kinds = tuple(LATE if is_admitted else "rejected" for is_admitted in outcome.admitted[missed].tolist())
    return Schedule(
        models=problem.spec.names,
        lanes=tuple(lanes),
        runs=Runs(
            found.group,
            found.stage,
            model[found.request],
            found.num_requests,
            found.begin_s,
            found.end_s,
            ~attained[found.request],
        ),
        misses=Misses(lane, model[missed], arrival_s[missed], kinds),
        end_s=max(float(arrival_s[-1]), float(found.end_s.max(initial=0.0))),
    )


def measured_schedule(models: Sequence[str], records: Sequence[Record], group_names: Sequence[str] = ()) -> Schedule:
    """What a replay measured: a row per stage where the records have stages, else rows per group, in which a request
    lasts for its execution time before its answer. Groups of other names than `group_names` come after these."""
    others = sorted({record.group for record in records if record.group}, key=lambda name: (len(name), name))
    groups = list(dict.fromkeys([*(name for name in group_names if name in others), *others]))
    lanes = [_Lane(name) for name in groups]
    index_of, model_of = {name: n for n, name in enumerate(groups)}, {name: n for n, name in enumerate(models)}
    bars: list[tuple[int, int, int, float, float, bool]] = []
    misses: list[tuple[int, int, float, str]] = []
    for record in sorted(records, key=lambda record: record.finish_s):
        lane, model = index_of.get(record.group, len(groups)), model_of[record.model]
        is_late = record.outcome != SERVED
        if is_late:
            misses.append((lane, model, record.arrival_s, record.outcome))
        if record.group:
            runs = lanes[lane].rows_of(record)
            bars += [(lane, row, model, begin_s, end_s, is_late) for row, begin_s, end_s in runs]
    drawn = [Lane(lane.name, lane.labels) for lane in lanes]
    if any(lane == len(groups) for lane, *_ in misses):
        drawn.append(Lane(NOWHERE, ()))
    lane_of, row_of, model_of_run = np.array([bar[:3] for bar in bars], dtype=np.int64).reshape(-1, 3).T
    begin_s, end_s = np.array([bar[3:5] for bar in bars], dtype=np.float64).reshape(-1, 2).T
    lane_missed, model_missed = np.array([miss[:2] for miss in misses], dtype=np.int64).reshape(-1, 2).T
    late = np.array([bar[5] for bar in bars], dtype=np.bool_)
    missed_s = np.array([miss[2] for miss in misses], dtype=np.float64)
    last_s = max((record.arrival_s for record in records), default=0.0)
    return Schedule(
        models=tuple(models),
        lanes=tuple(drawn),
        runs=Runs(lane_of, row_of, model_of_run, np.ones(len(bars), dtype=np.int64), begin_s, end_s, late),
        misses=Misses(lane_missed, model_missed, missed_s, tuple(miss[3] for miss in misses)),
        end_s=max(last_s, float(end_s.max(initial=0.0))),
    )


class _Lane:
    """A group's rows as they fill up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._num_stages = 0
        self._busy_until_s: list[float] = []

    @property
    def labels(self) -> tuple[str, ...]:
        if self._num_stages:
            return tuple(f"stage {k}" for k in range(self._num_stages))
        return tuple("at once" if n else "requests" for n in range(len(self._busy_until_s)))

    def rows_of(self, record: Record) -> list[tuple[int, float, float]]:
        if record.stage_end_s:
            self._num_stages = max(self._num_stages, len(record.stage_end_s))
            at_s = record.reached_leader_s
            stages = zip(record.stage_begin_s, record.stage_end_s, strict=True)
            return [(k, at_s + begin_s, at_s + end_s) for k, (begin_s, end_s) in enumerate(stages)]
        if math.isnan(record.execution_time_s) or math.isnan(record.latency_s):
            return []
        end_s = record.finish_s
        begin_s = end_s - record.execution_time_s
        free = (row for row, until_s in enumerate(self._busy_until_s) if until_s <= begin_s)
        row = next(free, len(self._busy_until_s))
        self._busy_until_s[row : row + 1] = [end_s]
        return [(row, begin_s, end_s)]
