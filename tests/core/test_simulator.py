"""The simulator against the rule's promises, its own interpreted text, and an independent oracle."""

import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given, settings

from services.core import kernel, schedule
from services.core.attainment import Outcome
from services.core.compiling import fingerprint
from services.core.problem import pose
from services.core.schedule import DISPATCH_RULES
from services.core.simulator import compiled_serve, serve_once, simulate, simulate_counts, warm_up
from tests.core import oracle
from tests.core.cases import Case, Row, cases, long_case


def outcome_of(case: Case, serve: object = None, rows: list[Row] | None = None) -> Outcome:
    problem = case.problem(rows)
    layout = problem.placement_layout(case.placement)
    return simulate(problem, layout, DISPATCH_RULES.index(case.rule), serve)  # type: ignore[arg-type]


def oracle_fates(case: Case) -> list[tuple[int, float | None]]:
    return oracle.simulate(case.spec, case.profiles, case.placement_document, case.rows, case.rule)


def fates(outcome: Outcome) -> list[tuple[int, float | None]]:
    admitted = zip(outcome.group.tolist(), outcome.finish_s.tolist(), outcome.admitted.tolist(), strict=True)
    return [(group, finish_s if was else None) for group, finish_s, was in admitted]


@settings(max_examples=100, deadline=None)
@given(cases())
def test_interpreted_and_compiled_agree_bit_for_bit(case: Case) -> None:
    interpreted = outcome_of(case, kernel.serve)
    compiled = outcome_of(case, compiled_serve())

    assert interpreted.group.tobytes() == compiled.group.tobytes()
    assert interpreted.finish_s.tobytes() == compiled.finish_s.tobytes()
    assert interpreted.stage_free_s.tobytes() == compiled.stage_free_s.tobytes()


@settings(max_examples=120, deadline=None)
@given(cases())
def test_every_fate_is_what_an_independent_simulator_says(case: Case) -> None:
    assert fates(outcome_of(case, kernel.serve)) == oracle_fates(case)


@pytest.mark.parametrize("rule", DISPATCH_RULES)
@pytest.mark.parametrize("seed", range(3))
def test_a_long_overloaded_run_is_what_an_independent_simulator_says(rule: str, seed: int) -> None:
    case = long_case(rule, seed)

    outcome = outcome_of(case, compiled_serve())

    assert fates(outcome) == oracle_fates(case)
    assert 0.2 < outcome.admitted.mean() < 0.9


@settings(max_examples=50, deadline=None)
@given(cases())
def test_counts_are_those_of_the_full_outcome(case: Case) -> None:
    problem = case.problem()
    layout = problem.placement_layout(case.placement)

    counts = simulate_counts(problem, layout, DISPATCH_RULES.index(case.rule))
    outcome = outcome_of(case)

    attained = problem.workload.model[outcome.admitted]
    num_groups = len(case.placement.groups)
    latency_s = (outcome.finish_s - problem.workload.arrival_s)[outcome.admitted]
    assert counts.attained.tolist() == np.bincount(attained, minlength=problem.num_models).tolist()
    assert counts.group_requests.tolist() == [int((outcome.group == g).sum()) for g in range(num_groups)]
    assert counts.group_attained.tolist() == [
        int((outcome.admitted & (outcome.group == g)).sum()) for g in range(num_groups)
    ]
    assert counts.latency_s == pytest.approx(latency_s.sum())


@settings(max_examples=60, deadline=None)
@given(cases())
def test_a_rejected_request_changes_nothing(case: Case) -> None:
    first = outcome_of(case, kernel.serve)
    kept = [row for row, was in zip(case.rows, first.admitted.tolist(), strict=True) if was]

    without = outcome_of(case, kernel.serve, kept) if kept else None

    expected = [] if without is None else fates(without)
    assert [fate for fate in fates(first) if fate[1] is not None] == expected


@settings(max_examples=60, deadline=None)
@given(cases())
def test_whoever_is_admitted_keeps_the_slo_and_finishes_in_order_on_its_group(case: Case) -> None:
    problem = case.problem()
    outcome = outcome_of(case, kernel.serve)

    latency_s = outcome.finish_s - problem.workload.arrival_s
    assert (latency_s[outcome.admitted] <= problem.slo_s[outcome.admitted]).all()
    for group in range(len(case.placement.groups)):
        assert (np.diff(outcome.finish_s[outcome.admitted & (outcome.group == group)]) >= 0).all()


def test_read_only_and_strided_columns_are_simulated_like_plain_ones() -> None:
    case = _two_devices()
    plain = case.problem()
    workload = plain.workload
    strided = np.repeat(workload.arrival_s, 2)[::2]
    strided.flags.writeable = False
    odd = type(workload)(strided, workload.model, workload.slo_s, workload.names)

    problem = pose(plain.spec, plain.profiles, odd)

    assert problem.requests.arrival_s.flags.c_contiguous
    assert problem.requests.arrival_s.flags.writeable
    assert problem.requests.arrival_s.tolist() == workload.arrival_s.tolist()


def test_small_workloads_are_interpreted_and_large_ones_compiled() -> None:
    assert serve_once(10) is kernel.serve
    assert serve_once(10**6) is compiled_serve()


def test_warming_up_leaves_one_compiled_form_for_all_rules() -> None:
    problem = _two_devices().problem()
    warm_up(problem)
    serve = compiled_serve()
    num_forms = len(serve.signatures)  # type: ignore[attr-defined]

    layout = problem.placement_layout(_two_devices().placement)
    for rule in range(len(DISPATCH_RULES)):
        simulate(problem, layout, rule)
        simulate_counts(problem, layout, rule)

    assert len(serve.signatures) == num_forms  # type: ignore[attr-defined]


def test_the_name_of_the_cached_code_changes_with_any_callee_and_any_constant() -> None:
    functions = (schedule.dispatch, schedule.admits)
    stricter = FunctionType((lambda finish_s, arrival_s, slo_s: finish_s - arrival_s < slo_s).__code__, {})
    renumbered = FunctionType(schedule.dispatch.__code__, schedule.dispatch.__globals__ | {"SHORTEST_QUEUE": 7})

    names = {
        fingerprint(functions),
        fingerprint((schedule.dispatch, stricter)),
        fingerprint((renumbered, schedule.admits)),
    }

    assert len(names) == 3
    assert fingerprint(functions) in names


def test_without_numba_the_error_names_the_extra() -> None:
    program = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'numba' else find(name, *rest);"
        "import services.core.simulator"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode != 0
    assert "alpaserve[planner]" in ended.stderr.splitlines()[-1]


def _two_devices() -> Case:
    entry = {"inter_op": 1, "intra_op": 1, "batch_size": 1, "stage_latency_s": [1.0], "stage_weight_bytes": [1]}
    group = {"inter_op": 1, "intra_op": 1, "models": ["m0"]}
    return Case(
        spec={
            "schema": "alpaserve.spec/v1",
            "cluster": {"num_devices": 2, "devices_per_node": 2, "memory_bytes": 1},
            "models": [{"name": "m0", "profile": "p", "slo_s": 1.5}],
        },
        profiles={"schema": "alpaserve.profiles/v1", "models": [{"model": "p", "profiles": [entry]}]},
        placement_document={
            "schema": "alpaserve.placement/v1",
            "groups": [group | {"devices": [0]}, group | {"devices": [1]}],
        },
        rows=[(0.0, "m0", None), (0.25, "m0", None), (0.4, "m0", None), (0.5, "m0", None)],
        rule="earliest-free",
    )
