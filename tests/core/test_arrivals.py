"""Arrival processes have the rates and the burstiness they are asked for."""

import numpy as np
import pytest

from services.core.arrivals import (
    even_arrivals,
    fit_gamma,
    gamma_arrivals,
    gamma_workload,
    gamma_workload_from_counts,
    markov_arrivals,
    markov_workload,
    poisson_arrivals,
    power_law_rates,
    refitted_workload,
    weighted_rates,
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
    ("rate", "cv", "duration"),
    [(-1.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0, float("inf")), (1.0, 1e-9, 1.0), (1.0, 1e9, 1.0)],
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


def test_a_markov_process_spends_in_each_state_the_time_that_its_sojourns_say() -> None:
    arrival_s = markov_arrivals((100.0, 0.0, 1.0), (1.0, 4.0, 5.0), 20_000.0, rng())

    # Busy tenths of a second are of the first state; it is left for the two others.
    counts = np.bincount((arrival_s * 10).astype(int), minlength=200_000)
    is_busy = counts >= 3
    assert is_busy.mean() == pytest.approx(0.1, rel=0.1)
    assert len(arrival_s) == pytest.approx(20_000 * (100 * 0.1 + 0.5), rel=0.1)
    assert (np.diff(arrival_s) >= 0).all()
    assert arrival_s[-1] < 20_000


def test_a_markov_process_begins_in_its_steady_state() -> None:
    firsts = [len(markov_arrivals((100.0, 0.0), (10.0, 30.0), 0.1, rng(seed))) > 0 for seed in range(400)]

    assert np.mean(firsts) == pytest.approx(0.25, abs=0.07)


def test_equal_states_are_poisson() -> None:
    rate_per_s, cv = fit_gamma(markov_arrivals((5.0, 5.0), (3.0, 1.0), 4000.0, rng()))

    assert (rate_per_s, cv) == pytest.approx((5.0, 1.0), rel=0.05)


def test_a_markov_workload_keeps_the_rates_whatever_the_levels() -> None:
    workload = markov_workload({"a": 4.0, "b": 1.0}, (7.0, 0.0), (5.0, 45.0), 20_000.0, seed=1)

    assert workload.num_requests_of == pytest.approx([80_000, 20_000], rel=0.1)


@pytest.mark.parametrize(
    ("rates", "sojourns"),
    [((1.0,), (1.0,)), ((1.0, 2.0), (1.0,)), ((1.0, -2.0), (1.0, 1.0)), ((1.0, 2.0), (1.0, 0.0))],
)
def test_markov_processes_that_mean_nothing_are_refused(rates: tuple[float, ...], sojourns: tuple[float, ...]) -> None:
    with pytest.raises(InvalidWorkload):
        markov_arrivals(rates, sojourns, 10.0, rng())
    with pytest.raises(InvalidWorkload):
        markov_workload({"a": 1.0}, rates, sojourns, 10.0, 0)


def test_weights_and_the_requests_of_a_trace_split_a_rate() -> None:
    trace = workload_from_arrivals({"a": np.arange(30.0), "b": np.arange(10.0), "c": np.empty(0)})

    assert weighted_rates(8.0, [1] * 4).tolist() == [2.0] * 4
    assert weighted_rates(8.0, trace.num_requests_of).tolist() == [6.0, 2.0, 0.0]


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [float("nan")]])
def test_weights_that_split_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(InvalidWorkload, match="weights"):
        weighted_rates(1.0, weights)


@pytest.mark.parametrize(("rate", "exponent"), [(-1.0, 0.0), (1.0, float("nan")), (1.0, 1e3)])
def test_power_laws_that_mean_nothing_are_refused(rate: float, exponent: float) -> None:
    with pytest.raises(InvalidWorkload):
        power_law_rates(rate, 3, exponent)


def test_a_fitted_rate_far_above_the_empirical_one_is_reset_to_it() -> None:
    trace = workload_from_arrivals({"a": np.concatenate([np.linspace(50.0, 50.9, 10), [5000.0]])})

    again = [refitted_workload(trace, 1000.0, 10.0, 0.01, seed) for seed in range(20)]

    in_window = [np.count_nonzero(own.arrival_s < 1000) for own in again]
    assert np.mean(in_window) == pytest.approx(100, rel=0.05)


def test_a_timer_can_be_refitted() -> None:
    trace = workload_from_arrivals({"a": np.arange(0.0, 1000.0, 0.7)})

    again = refitted_workload(trace, 100.0, 1.0, 1.0, 0)

    assert fit_gamma(again.arrival_s) == pytest.approx((1 / 0.7, 0.0), rel=0.02, abs=0.1)


@pytest.mark.parametrize(("window_s", "rate_scale"), [(0.0, 1.0), (-5.0, 1.0), (5.0, -1.0), (float("nan"), 1.0)])
def test_refits_that_mean_nothing_are_refused(window_s: float, rate_scale: float) -> None:
    with pytest.raises(InvalidWorkload):
        refitted_workload(workload_from_arrivals({"a": np.arange(9.0)}), window_s, rate_scale, 1.0, 0)
