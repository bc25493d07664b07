"""Arrival processes have the rates and the burstiness they are asked for."""

import numpy as np
import pytest

from services.core.arrivals import (
    even_arrivals,
    fit_gamma,
    gamma_arrivals,
    gamma_workload,
    gamma_workload_from_counts,
    poisson_arrivals,
    power_law_rates,
    refitted_workload,
    workload_from_counts,
)
from services.core.errors import InvalidWorkload
from services.core.workload import workload_from_arrivals


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("cv", [0.5, 1.0, 4.0])
def test_gamma_arrivals_have_their_rate_and_their_cv(cv: float) -> None:
    arrival_s = gamma_arrivals(20.0, cv, 5000.0, rng())

    rate_per_s, fitted_cv = fit_gamma(arrival_s)
    assert rate_per_s == pytest.approx(20.0, rel=0.05)
    assert fitted_cv == pytest.approx(cv, rel=0.05)
    assert arrival_s[-1] < 5000.0
    assert len(arrival_s) == pytest.approx(100_000, rel=0.05)


def test_cv_0_is_even() -> None:
    assert gamma_arrivals(2.0, 0.0, 2.0, rng()).tolist() == even_arrivals(2.0, 2.0).tolist() == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize("rate", [0.0, 1e-9])
def test_hardly_any_rate_is_hardly_any_arrival(rate: float) -> None:
    assert len(poisson_arrivals(rate, 10.0, rng())) == 0


@pytest.mark.parametrize(
    ("rate", "cv", "duration"), [(-1.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0, float("inf"))]
)
def test_processes_that_mean_nothing_are_refused(rate: float, cv: float, duration: float) -> None:
    with pytest.raises(InvalidWorkload):
        gamma_arrivals(rate, cv, duration, rng())


def test_power_law_rates_fall_and_sum_to_the_total() -> None:
    rates = power_law_rates(6.0, 4)

    assert rates.sum() == pytest.approx(6.0)
    assert rates[3] / rates[0] == pytest.approx(0.5)


def test_another_model_leaves_the_arrivals_of_the_others_alone() -> None:
    alone = gamma_workload({"a": 3.0}, 2.0, 50.0, seed=7)
    both = gamma_workload({"a": 3.0, "b": 1.0}, 2.0, 50.0, seed=7)

    assert both.arrival_s[both.model == 0].tolist() == alone.arrival_s.tolist()


def test_counts_become_as_many_arrivals_in_their_buckets() -> None:
    counts = {"a": np.array([0, 3, 1]), "b": np.array([2, 0, 0])}

    workload = workload_from_counts(counts, bucket_s=10.0, seed=1)

    bucket = (workload.arrival_s // 10).astype(int)
    assert np.bincount(bucket[workload.model == 0], minlength=3).tolist() == [0, 3, 1]
    assert np.bincount(bucket[workload.model == 1], minlength=3).tolist() == [2, 0, 0]
    assert workload.arrival_s.tolist() == workload_from_counts(counts, bucket_s=10.0, seed=1).arrival_s.tolist()


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InvalidWorkload, match="-2"):
        workload_from_counts({"a": np.array([1, -2])}, 1.0, 0)


def test_gamma_arrivals_follow_the_counts() -> None:
    counts = {"a": np.array([6000, 0, 12000])}

    workload = gamma_workload_from_counts(counts, bucket_s=60.0, rate_scale=0.5, cv=1.0, seed=0)

    in_bucket = np.bincount((workload.arrival_s // 60).astype(int), minlength=3)
    assert in_bucket[1] == 0
    assert in_bucket[[0, 2]] == pytest.approx([3000, 6000], rel=0.1)


def test_a_refitted_trace_keeps_rate_and_burstiness_window_by_window() -> None:
    busy, calm = gamma_arrivals(50.0, 3.0, 400.0, rng()), 400 + gamma_arrivals(5.0, 3.0, 400.0, rng(1))
    trace = workload_from_arrivals({"a": np.concatenate([busy, calm])})

    again = refitted_workload(trace, window_s=400.0, rate_scale=2.0, cv_scale=1.0, seed=3)

    early, late = again.arrival_s[again.arrival_s < 400], again.arrival_s[again.arrival_s >= 400]
    assert len(early) == pytest.approx(2 * len(busy), rel=0.2)
    assert len(late) == pytest.approx(2 * len(calm), rel=0.4)
    assert fit_gamma(early)[1] == pytest.approx(3.0, rel=0.2)
