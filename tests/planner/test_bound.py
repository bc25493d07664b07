"""No placement exceeds the bound, and it says something where nothing can be served."""

import numpy as np
import pytest
from hypothesis import given, settings

from services.core import kernel
from services.core.schedule import DISPATCH_RULES
from services.core.simulator import simulate_counts
from services.planner.policies.bound import attainment_bound
from tests.core.cases import Case, cases
from tests.planner.problems import at, even_profile, posed, profiles, spec


@settings(max_examples=150, deadline=None)
@given(cases())
def test_no_placement_exceeds_the_bound(case: Case) -> None:
    problem = case.problem()
    layout = problem.placement_layout(case.placement)

    counts = simulate_counts(problem, layout, DISPATCH_RULES.index(case.rule), kernel.serve)

    assert counts.attained.sum() / problem.num_requests <= attainment_bound(problem)


@pytest.mark.parametrize(
    ("slo_s", "num_devices", "expected"),
    [
        # One stage of a second: too slow alone, just in time, one after the other within the SLO.
        (0.99, 1, 0.0),
        (1.0, 1, 0.25),
        (2.0, 1, 0.5),
        (1.0, 4, 1.0),
        (9.0, 1, 1.0),
    ],
)
def test_a_burst_needs_device_seconds_before_its_deadline(slo_s: float, num_devices: int, expected: float) -> None:
    single = {"model": "p", "profiles": even_profile("p", 1.0, 10)["profiles"][:1]}
    problem = posed(spec({"m0": "p"}, num_devices, 100, slo_s=slo_s), profiles(single), at(*np.zeros(4)))

    assert attainment_bound(problem) == expected


def test_a_model_that_fits_nowhere_is_attained_by_nobody_even_without_an_slo() -> None:
    problem = posed(spec({"m0": "p"}, 1, 100), profiles(even_profile("p", 1.0, 1000)), at(0.0))

    assert attainment_bound(problem) == 0.0
