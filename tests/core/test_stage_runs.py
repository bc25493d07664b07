"""The schedule of stages behind a simulated outcome."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from services.core.attainment import Outcome
from services.core.batched_simulator import INTERPRETED, Batching, simulate_batched
from services.core.kernel import serve
from services.core.placement import Placement
from services.core.problem import Problem
from services.core.schedule import DISPATCH_RULES
from services.core.simulator import simulate
from services.core.stage_runs import StageRuns, stage_runs
from tests.core.batching_cases import long_batching_case
from tests.core.cases import Case, cases


def check_runs(problem: Problem, placement: Placement, outcome: Outcome) -> StageRuns:
    """Every admitted request runs once, ends when the simulator says, and no stage runs two at once."""
    runs = stage_runs(problem, placement, outcome)
    num_stages = np.array([group.config.inter_op for group in placement.groups])
    last = runs.stage == num_stages[runs.group] - 1
    finish_s = runs.end_s[last] + problem.profiles.request_overhead_s
    assert finish_s.tolist() == outcome.finish_s[runs.request[last]].tolist()
    assert runs.num_requests[last].sum() == outcome.admitted.sum()
    assert (runs.begin_s >= problem.workload.arrival_s[runs.request] - 1e-9).all()
    for group, stage in set(zip(runs.group.tolist(), runs.stage.tolist(), strict=True)):
        own = (runs.group == group) & (runs.stage == stage)
        assert (runs.begin_s[own][1:] >= runs.end_s[own][:-1] - 1e-9).all()
    return runs


@given(case=cases())
def test_runs_are_what_the_simulator_reckons_with(case: Case) -> None:
    problem, placement = case.problem(), case.placement
    outcome = simulate(problem, problem.placement_layout(placement), placement.dispatch_rule, serve)

    runs = check_runs(problem, placement, outcome)

    assert set(runs.request.tolist()) == set(np.flatnonzero(outcome.admitted).tolist())


@pytest.mark.parametrize("rule", DISPATCH_RULES)
def test_batches_run_as_a_whole(rule: str) -> None:
    case = long_batching_case(rule, seed=1)
    problem, placement = case.problem(), replace(case.placement, max_batch_size=8)
    outcome = simulate_batched(problem, placement, Batching(8), INTERPRETED)

    runs = check_runs(problem, placement, outcome)

    assert runs.num_requests.max() > 1
