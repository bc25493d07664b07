"""Where memory is tight the bound is the exact optimum, or stays above what any placement attains."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core import kernel
from services.core.documents import parse_placement
from services.core.problem import Problem
from services.core.schedule import DISPATCH_RULES, EARLIEST_FREE
from services.core.simulator import simulate_counts
from services.core.workload import parse_workload, workload_from_arrivals
from services.planner.policies.bound import attainment_bound, pooled_bound
from tests.planner.problems import entry, even_profile, posed, profiles, spec

MEMORY_BYTES = 100
CONFIGS = ((1, 1), (2, 1), (1, 2), (3, 1))


def attained(problem: Problem, groups: list[dict[str, Any]], rule: int = EARLIEST_FREE) -> float:
    placement = parse_placement({"schema": "alpaserve.placement/v1", "groups": groups})
    counts = simulate_counts(problem, problem.placement_layout(placement), rule, kernel.serve)
    return int(counts.attained.sum()) / problem.num_requests


def group(inter_op: int, intra_op: int, first_device: int, models: tuple[str, ...]) -> dict[str, Any]:
    devices = list(range(first_device, first_device + inter_op * intra_op))
    return {"inter_op": inter_op, "intra_op": intra_op, "devices": devices, "models": list(models)}


@st.composite
def tight_problems(draw: st.DrawFn, max_devices: int = 5) -> Problem:
    """A few models of which not all fit, under bursts; requests may have SLOs of their own."""
    latency, weight = st.sampled_from([0.1, 0.25, 0.5, 1.0]), st.integers(10, 110)
    documents = [
        {
            "model": name,
            "profiles": [
                {
                    **entry(inter, intra, 1.0, draw(weight) // (inter * intra)),
                    "stage_latency_s": draw(st.lists(latency, min_size=inter, max_size=inter)),
                }
                for inter, intra in CONFIGS[: draw(st.integers(1, len(CONFIGS)))]
            ],
        }
        for name in ("p", "q", "r")
    ]
    profile_of = {f"m{i}": draw(st.sampled_from("pqr")) for i in range(draw(st.integers(1, 5)))}
    slo = draw(st.sampled_from([{"slo_s": 0.3}, {"slo_s": 0.5}, {"slo_s": 1.0}, {"slo_s": 2.0}, {}]))
    spec_ = spec(profile_of, draw(st.integers(1, max_devices)), MEMORY_BYTES, **slo)
    times = st.floats(0, 4) | st.sampled_from([0.0, 0.5, 1.0])
    own_slo = st.sampled_from(["", "", "", "0.5", "1.5", "1e9"])
    request = st.tuples(times, st.sampled_from(list(profile_of)), own_slo)
    rows = sorted(draw(st.lists(request, min_size=1, max_size=40)))
    workload = parse_workload(["arrival_s,model,slo_s", *(f"{t!r},{name},{slo}" for t, name, slo in rows)])
    return posed(spec_, {**profiles(*documents), "request_overhead_s": draw(st.sampled_from([0.0, 0.05]))}, workload)


@st.composite
def placed(draw: st.DrawFn) -> tuple[Problem, list[dict[str, Any]], int]:
    """A tight problem, groups filled with models in random order, and a dispatch rule."""
    problem = draw(tight_problems())
    groups: list[dict[str, Any]] = []
    used = 0
    for inter, intra in draw(st.lists(st.sampled_from(CONFIGS), min_size=1, max_size=5)):
        if used + inter * intra <= problem.spec.cluster.num_devices:
            order = draw(st.permutations(problem.spec.names))
            groups.append(group(inter, intra, used, filled(problem, (inter, intra), order)))
            used += inter * intra
    return problem, groups, draw(st.integers(0, len(DISPATCH_RULES) - 1))


def filled(problem: Problem, config: tuple[int, int], order: list[str]) -> tuple[str, ...]:
    """The models that fit a group's memory, taken in order."""
    held: tuple[str, ...] = ()
    for name in order:
        if fits(problem, config, (*held, name)):
            held = (*held, name)
    return held


def fits(problem: Problem, config: tuple[int, int], names: tuple[str, ...]) -> bool:
    stages = [problem.profiles[problem.spec.model(name).profile].stages for name in names]
    found = [s for of in stages for s in of if (s.config.inter_op, s.config.intra_op) == config]
    return len(found) == len(names) and sum(s.heaviest_stage_bytes for s in found) <= MEMORY_BYTES


@settings(max_examples=200, deadline=None)
@given(placed())
def test_no_placement_exceeds_the_bound_where_memory_is_tight(case: tuple[Problem, list[dict[str, Any]], int]) -> None:
    problem, groups, rule = case

    assert attained(problem, groups, rule) <= attainment_bound(problem) <= pooled_bound(problem)


@settings(max_examples=40, deadline=None)
@given(tight_problems(max_devices=2))
def test_the_best_of_all_placements_of_two_devices_does_not_exceed_the_bound(problem: Problem) -> None:
    names, num_devices = problem.spec.names, problem.spec.cluster.num_devices
    sets = [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]
    held = {config: [chosen for chosen in sets if fits(problem, config, chosen)] for config in CONFIGS[:3]}
    singles = [[group(1, 1, 0, chosen)] for chosen in held[1, 1]]
    pairs = [[*one, group(1, 1, 1, chosen)] for one in singles for chosen in held[1, 1]]
    wide = [[group(*config, 0, chosen)] for config in CONFIGS[1:3] for chosen in held[config]]
    every = singles + (pairs + wide if num_devices == 2 else [])

    assert max(attained(problem, groups) for groups in every) <= attainment_bound(problem)


def knapsack(weights: list[int], num_requests: list[int], num_devices: int, memory_bytes: int) -> Problem:
    """Models that only a device of their own serves, so rarely that whatever is held is attained."""
    documents = [{"model": f"p{w}", "profiles": [entry(1, 1, 0.01, w)]} for w in sorted(set(weights))]
    profile_of = {f"m{i}": f"p{w}" for i, w in enumerate(weights)}
    arrivals = {f"m{i}": np.arange(i, 100.0 * n, 100.0) for i, n in enumerate(num_requests)}
    problem_spec = spec(profile_of, num_devices, memory_bytes, slo_s=1.0)
    return posed(problem_spec, profiles(*documents), workload_from_arrivals(arrivals))


@pytest.mark.parametrize(
    ("weights", "num_requests", "num_devices", "expected"),
    [
        # Two of four fill a device exactly: the two most asked for.
        ([50, 50, 50, 50], [10, 8, 6, 4], 1, 18),
        ([50, 50, 50, 50], [10, 8, 6, 4], 2, 28),
        # Half a device is left beside each, though not for another of these.
        ([60, 60, 60, 60], [10, 8, 6, 4], 1, 10),
        ([60, 60, 60, 60], [10, 8, 6, 4], 3, 24),
        # Two to a device, and never three, although five would fit two devices by bytes.
        ([40, 40, 40, 40, 40], [5, 5, 5, 5, 5], 2, 20),
        # The light ones are worth more a byte, and together exclude the heavy one.
        ([100, 50, 50], [12, 7, 7], 1, 14),
        ([101, 50, 50], [90, 7, 3], 1, 10),
    ],
)
def test_the_bound_is_the_optimum_of_a_knapsack(
    weights: list[int], num_requests: list[int], num_devices: int, expected: int
) -> None:
    problem = knapsack(weights, num_requests, num_devices, MEMORY_BYTES)

    assert attainment_bound(problem) == expected / sum(num_requests)


def test_a_burst_of_one_model_needs_more_than_one_group_to_hold_it() -> None:
    # Two at once within the SLO: a device holds one model, and serves one of the two.
    arrivals = {f"m{i}": np.repeat(np.arange(5) * 10.0 + i, 2) for i in range(4)}
    one = {"model": "p", "profiles": [entry(1, 1, 1.0, 60)]}
    problem = posed(
        spec(dict.fromkeys(arrivals, "p"), 6, MEMORY_BYTES, slo_s=1.0), profiles(one), workload_from_arrivals(arrivals)
    )

    assert pooled_bound(problem) == 1.0
    assert attainment_bound(problem) == 30 / 40


def test_work_is_counted_on_a_config_that_is_fast_enough() -> None:
    # Cheap on one device but too slow for the SLO; in time on two, at twice the device seconds.
    both = {"model": "p", "profiles": [entry(1, 1, 1.0, 10), entry(1, 2, 0.8, 5)]}
    problem = posed(
        spec({"m0": "p"}, 2, MEMORY_BYTES, slo_s=0.9), profiles(both), workload_from_arrivals({"m0": np.zeros(2)})
    )

    assert pooled_bound(problem) == 0.5


def test_bytes_decide_which_models_are_held_on_every_config() -> None:
    profile_of = {f"m{i}": "p" for i in range(6)}
    arrivals = {name: np.arange(i, 200.0, 50.0) for i, name in enumerate(profile_of)}
    problem = posed(
        spec(profile_of, 2, MEMORY_BYTES, slo_s=1.0),
        profiles(even_profile("p", 0.1, 50)),
        workload_from_arrivals(arrivals),
    )

    # Four of six fit, whether on two devices or in one pipeline of two stages.
    assert attainment_bound(problem) == 4 / 6
