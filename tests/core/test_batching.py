"""Batching, ours and the published: promises of the rule, interpreted against compiled, and an oracle."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core import kernel
from services.core.attainment import Outcome, report
from services.core.batched_simulator import (
    BATCHING_RULES,
    INTERPRETED,
    Batching,
    BatchKernels,
    compiled_kernels,
    simulate_batched,
)
from services.core.errors import InvalidArgument
from services.core.schedule import DISPATCH_RULES
from services.core.simulator import simulate
from tests.core import batching_oracle
from tests.core.batching_cases import batching_cases, long_batching_case
from tests.core.cases import Case, cases
from tests.core.test_simulator import fates

SIZES = st.sampled_from([1, 2, 3, 4, 8, 16, 50])


@pytest.fixture(scope="module")
def compiled() -> BatchKernels:
    """Compiled before the first test that needs it, once for all."""
    kernels = compiled_kernels()
    for rule in BATCHING_RULES:
        outcome_of(one_device(slo_s=1.0, arrivals=[0.0]), Batching(2, rule), kernels)
    return kernels


def outcome_of(case: Case, batching: Batching, kernels: BatchKernels = INTERPRETED) -> Outcome:
    placement = replace(case.placement, dispatch=case.rule)
    return simulate_batched(case.problem(), placement, batching, kernels)


def oracle_fates(case: Case, batching: Batching) -> list[tuple[int, float | None]]:
    documents = (case.spec, case.profiles, case.placement_document, case.rows)
    if batching.rule == "published":
        return batching_oracle.published(*documents, batching.max_size)
    return batching_oracle.ours(*documents, case.rule, batching.max_size)


@settings(max_examples=60, deadline=None)
@given(batching_cases(), SIZES, st.sampled_from(BATCHING_RULES))
def test_every_fate_is_what_an_independent_simulator_says(case: Case, max_size: int, rule: str) -> None:
    batching = Batching(max_size, rule)

    assert fates(outcome_of(case, batching)) == oracle_fates(case, batching)


@pytest.mark.parametrize("rule", DISPATCH_RULES)
@pytest.mark.parametrize("seed", range(2))
def test_a_long_overloaded_run_is_what_an_independent_simulator_says(rule: str, seed: int) -> None:
    case = long_batching_case(rule, seed)

    outcome = outcome_of(case, Batching(8))

    assert fates(outcome) == oracle_fates(case, Batching(8))
    assert 0.2 < outcome.admitted.mean() < 0.95


@pytest.mark.parametrize("seed", range(2))
def test_a_long_run_of_the_published_rule_is_what_an_independent_simulator_says(seed: int) -> None:
    case = long_batching_case("earliest-free", seed)
    batching = Batching(16, "published")

    assert fates(outcome_of(case, batching)) == oracle_fates(case, batching)


@settings(max_examples=40, deadline=None)
@given(batching_cases(), SIZES, st.sampled_from(BATCHING_RULES))
def test_interpreted_and_compiled_agree_bit_for_bit(
    compiled: BatchKernels, case: Case, max_size: int, rule: str
) -> None:
    interpreted = outcome_of(case, Batching(max_size, rule))
    fast = outcome_of(case, Batching(max_size, rule), compiled)

    assert interpreted.group.tobytes() == fast.group.tobytes()
    assert interpreted.finish_s.tobytes() == fast.finish_s.tobytes()
    assert interpreted.stage_free_s.tobytes() == fast.stage_free_s.tobytes()
    assert interpreted.stage_busy_s.tobytes() == fast.stage_busy_s.tobytes()


@settings(max_examples=60, deadline=None)
@given(cases() | batching_cases())
def test_batches_of_one_are_the_simulation_without_batching_bit_for_bit(case: Case) -> None:
    problem = case.problem()
    layout = problem.placement_layout(case.placement)
    plain = simulate(problem, layout, DISPATCH_RULES.index(case.rule), kernel.serve)

    batched = outcome_of(case, Batching(1))

    assert batched.group.tobytes() == plain.group.tobytes()
    assert batched.finish_s.tobytes() == plain.finish_s.tobytes()
    assert batched.stage_free_s.tobytes() == plain.stage_free_s.tobytes()
    assert batched.stage_busy_s == pytest.approx(plain.stage_busy_s)


@settings(max_examples=40, deadline=None)
@given(batching_cases(), SIZES)
def test_whoever_is_served_by_our_rule_keeps_the_slo(case: Case, max_size: int) -> None:
    outcome = outcome_of(case, Batching(max_size))

    assert (outcome.attained(case.problem()) == outcome.admitted).all()


@pytest.mark.parametrize(
    ("max_size", "finishes"), [(1, [1.0, 2.0, 3.0, 4.0]), (2, [1.0, 2.5, 2.5, 3.5]), (4, [1.0, 2.5, 2.5, 3.5])]
)
def test_a_batch_grows_over_the_sizes_that_are_profiled(max_size: int, finishes: list[float]) -> None:
    case = one_device(slo_s=9.0, arrivals=[0.0, 0.1, 0.2, 0.3])

    assert outcome_of(case, Batching(max_size)).finish_s.tolist() == finishes


def test_a_batch_s_other_members_keep_their_slos_under_our_rule_only() -> None:
    tight = (0.2, "m0", 1.8)
    case = one_device(slo_s=9.0, arrivals=[0.0, 0.1], more=[tight])
    problem = case.problem()

    ours, published = (outcome_of(case, Batching(2, rule)) for rule in BATCHING_RULES)

    assert ours.finish_s[:2].tolist() == [1.0, 2.0]
    assert published.finish_s.tolist() == [1.0, 2.5, 2.5]
    assert published.attained(problem).tolist() == [True, True, False]


def test_the_busy_share_counts_batches_not_requests() -> None:
    case = one_device(slo_s=9.0, arrivals=[0.0, 0.1, 0.2])

    outcome = outcome_of(case, Batching(2))

    assert outcome.stage_busy_s.tolist() == [2.5]
    assert report(case.problem(), case.placement, outcome).groups[0].stage_busy_share == (1.0,)


@pytest.mark.parametrize(("max_size", "rule"), [(0, "ours"), (-3, "ours"), (4, "largest")])
def test_batching_that_means_nothing_is_refused(max_size: int, rule: str) -> None:
    with pytest.raises(InvalidArgument):
        Batching(max_size, rule)


def one_device(slo_s: float, arrivals: list[float], more: list[tuple[float, str, float]] | None = None) -> Case:
    """One model whose requests take a second alone and 1.5 s in twos."""
    entries = [
        {
            "inter_op": 1,
            "intra_op": 1,
            "batch_size": size,
            "stage_latency_s": [latency_s],
            "stage_weight_bytes": [1],
        }
        for size, latency_s in ((1, 1.0), (2, 1.5))
    ]
    return Case(
        spec={
            "schema": "alpaserve.spec/v1",
            "cluster": {"num_devices": 1, "devices_per_node": 1, "memory_bytes": 1},
            "models": [{"name": "m0", "profile": "p", "slo_s": slo_s}],
        },
        profiles={
            "schema": "alpaserve.profiles/v1",
            "request_overhead_s": 0.0,
            "stage_latency_factor_per_stage": 0.0,
            "models": [{"model": "p", "profiles": entries}],
        },
        placement_document={
            "schema": "alpaserve.placement/v1",
            "groups": [{"inter_op": 1, "intra_op": 1, "devices": [0], "models": ["m0"]}],
        },
        rows=[*((arrival, "m0", None) for arrival in arrivals), *(more or [])],
        rule="earliest-free",
    )


def test_of_a_model_placed_nowhere_every_request_is_missed() -> None:
    case = one_device(slo_s=9.0, arrivals=[0.0, 0.5])
    case.placement_document["groups"][0]["models"] = []

    for rule in BATCHING_RULES:
        outcome = outcome_of(case, Batching(4, rule))
        assert outcome.group.tolist() == [-1, -1]
        assert np.isnan(outcome.finish_s).all()
