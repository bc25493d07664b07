"""Who ran in which stage when: the admitted requests of a simulated run, walked once more by the rule's text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.attainment import Outcome
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.schedule import commit


@dataclass(frozen=True, slots=True, eq=False)
class StageRuns:
    """Columns (num_runs,), group by group in order of time. A run is what a stage does at once: `num_requests` of one
    model, `request` the first of them. `group` and `stage` number the placement's groups and a group's stages."""

    request: NDArray[np.int64]
    num_requests: NDArray[np.int64]
    group: NDArray[np.int64]
    stage: NDArray[np.int64]
    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.request)


def stage_runs(problem: Problem, placement: Placement, outcome: Outcome) -> StageRuns:
    """The stages' schedule behind the simulated outcome of a placement, in batches by our rule if it allows any.

    A batch is what a group finishes at once; it begins when the first stage is idle and all its requests are there.
    """
    whole: list[tuple[int, int, int, int]] = []
    times: list[tuple[float, float]] = []
    for g, group in enumerate(placement.groups):
        free_at = [0.0] * group.config.inter_op
        for members in _batches(problem, placement, outcome, g):
            name = problem.spec.models[problem.workload.model[members[0]]].profile
            latency = problem.profiles.stage_latency_s(name, group.config, len(members))
            commit(float(problem.workload.arrival_s[members[-1]]), free_at, latency, 0, len(free_at))
            whole += [(int(members[0]), len(members), g, stage) for stage in range(len(free_at))]
            times += [(end_s - own_s, end_s) for own_s, end_s in zip(latency, free_at, strict=True)]
    request, num_requests, group_of, stage_of = np.array(whole, dtype=np.int64).reshape(-1, 4).T
    begin_s, end_s = np.array(times, dtype=np.float64).reshape(-1, 2).T
    return StageRuns(request, num_requests, group_of, stage_of, begin_s, end_s)


def _batches(problem: Problem, placement: Placement, outcome: Outcome, group: int) -> list[NDArray[np.int64]]:
    """Requests of a group that ran together, in order of their start, each in order of arrival."""
    own = np.flatnonzero((outcome.group == group) & outcome.admitted)
    if placement.max_batch_size == 1:
        return list(own[:, None])
    own = own[np.lexsort((own, outcome.finish_s[own]))]
    borders = (np.diff(outcome.finish_s[own]) > 0) | (np.diff(problem.workload.model[own]) != 0)
    return [part for part in np.split(own, np.flatnonzero(borders) + 1) if len(part)]
