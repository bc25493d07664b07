"""What a workload's statistics say, and burstiness changed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.arrivals import even_arrivals, gamma_arrivals, poisson_arrivals
from services.core.burstiness import statistics, with_cv_scale
from services.core.errors import InvalidWorkload
from services.core.workload import Workload, workload_from_arrivals


@pytest.fixture
def workload() -> Workload:
    rng = np.random.default_rng(0)
    arrivals = {
        "bursty": gamma_arrivals(4.0, 3.0, 5000.0, rng),
        "poisson": poisson_arrivals(2.0, 5000.0, rng),
        "even": even_arrivals(1.0, 5000.0),
    }
    return workload_from_arrivals(arrivals)


def test_rate_cv_and_dispersion_are_those_of_the_processes(workload: Workload) -> None:
    found = statistics(workload, [100.0])

    assert found.span_s == workload.span_s
    assert [row.rate_per_s for row in found.models.values()] == pytest.approx([4.0, 2.0, 1.0], rel=0.1)
    assert [row.cv for row in found.models.values()] == pytest.approx([3.0, 1.0, 0.0], rel=0.1, abs=1e-6)
    dispersion = [row.dispersion[0] for row in found.models.values()]
    assert dispersion == pytest.approx([9.0, 1.0, 0.0], rel=0.35, abs=0.05)
    assert found.total.num_requests == len(workload)


def test_figures_by_hand() -> None:
    workload = workload_from_arrivals({"a": np.array([1.0, 1.5, 2.0, 5.0]), "idle": np.empty(0)})

    found = statistics(workload, [1.0, 3.0])

    assert (found.begin_s, found.span_s) == (1.0, 4.0)
    row = found.models["a"]
    assert (row.num_requests, row.rate_per_s) == (4, 1.0)
    assert row.cv == pytest.approx(np.std([0.5, 0.5, 3.0]) / (4 / 3))
    # The windows from 1 s on hold 2, 1, 0 and 0 requests; of 3 s only one fits.
    assert list(row.dispersion) == [pytest.approx(0.6875 / 0.75), None]
    assert found.models["idle"].cv is None
    assert found.models["idle"].dispersion == (None, None)


def test_default_scales_follow_the_rate_and_leave_windows_enough(workload: Workload) -> None:
    scales_s = statistics(workload).scales_s

    assert scales_s == pytest.approx((3 / 7, 30 / 7, 300 / 7), rel=0.05)
    assert statistics(workload.between(0.0, 100.0)).scales_s == pytest.approx(scales_s[:2], rel=0.4)


def test_nothing_is_said_of_an_empty_workload() -> None:
    found = statistics(workload_from_arrivals({"a": np.empty(0)}))

    assert found.total.num_requests == found.total.rate_per_s == 0
    assert found.scales_s == ()


@pytest.mark.parametrize("scale_s", [0.0, -1.0, math.nan, math.inf, 1e-12])
def test_a_scale_that_means_nothing_is_refused(workload: Workload, scale_s: float) -> None:
    with pytest.raises(InvalidWorkload, match=str(scale_s)):
        statistics(workload, [scale_s])


@pytest.mark.parametrize("factor", [0.5, 2.0, 4.0])
def test_a_cv_scale_multiplies_the_cv_and_keeps_requests_and_rates(workload: Workload, factor: float) -> None:
    scaled = with_cv_scale(workload, factor)

    before, after = statistics(workload).models, statistics(scaled).models
    assert scaled.num_requests_of.tolist() == workload.num_requests_of.tolist()
    assert scaled.span_s == pytest.approx(workload.span_s)
    for name in ("bursty", "poisson"):
        assert after[name].cv == pytest.approx(factor * (before[name].cv or 0), rel=1e-3)


def test_a_cv_scale_of_0_is_even_and_arrivals_at_one_instant_stay_so() -> None:
    arrivals = {"a": np.array([0.0, 1.0, 8.0, 9.0]), "b": np.array([0.0, 0.0, 1.0, 9.0])}

    smooth = with_cv_scale(workload_from_arrivals(arrivals), 0.0).arrivals_of_each

    assert smooth[0] == pytest.approx([0.0, 3.0, 6.0, 9.0])
    assert smooth[1] == pytest.approx([0.0, 0.0, 4.5, 9.0])


def test_a_cv_scale_of_1_changes_nothing(workload: Workload) -> None:
    assert with_cv_scale(workload, 1.0).arrival_s.tolist() == workload.arrival_s.tolist()


def test_requests_keep_their_model_and_slo_through_a_cv_scale() -> None:
    workload = Workload(
        np.array([0.0, 1.0, 2.0, 5.0, 6.0, 7.0]),
        np.array([0, 1, 0, 0, 1, 0], dtype=np.int32),
        np.array([0.1, 1.0, 0.2, 0.3, 2.0, 0.4]),
        ("a", "b"),
    )

    scaled = with_cv_scale(workload, 1.3)

    assert scaled.slo_s[scaled.model == 0].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert scaled.arrival_s[scaled.model == 1].tolist() == [1.0, 6.0]


@given(st.lists(st.sampled_from([0.0, 1.0, 1.5, 4.0, 1e4]), max_size=12), st.floats(0, 1e3))
def test_any_cv_scale_keeps_each_model_within_its_span(arrival_s: list[float], factor: float) -> None:
    workload = workload_from_arrivals({"a": np.sort(arrival_s), "b": np.array([0.5, 0.75])})

    scaled = with_cv_scale(workload, factor)

    for before, after in zip(workload.arrivals_of_each, scaled.arrivals_of_each, strict=True):
        assert after[[0, -1] if len(after) else []] == pytest.approx(before[[0, -1] if len(before) else []])


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
def test_a_cv_scale_that_means_nothing_is_refused(workload: Workload, factor: float) -> None:
    with pytest.raises(InvalidWorkload, match=str(factor)):
        with_cv_scale(workload, factor)
