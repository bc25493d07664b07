"""Drawn workloads have the statistics of their source and none of its arrivals."""

import math
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.arrivals import even_arrivals, gamma_workload, markov_workload, power_law_rates
from services.core.burstiness import statistics
from services.core.errors import InvalidWorkload
from services.core.modulation import Modulation, calibrated
from services.core.synthesis import resampled, synthesize
from services.core.workload import Workload, workload_from_arrivals

SCALES_S = (2.0, 10.0, 50.0)


@cache
def source(kind: str) -> Workload:
    """Four models over 4,000 s: without memory, in bursts, or in storms of a minute every three."""
    rates = {f"m{i}": 4.0 / (i + 1) for i in range(4)}
    if kind == "storms":
        return markov_workload(rates, (20.0, 1.0), (60.0, 120.0), 4000.0, seed=5)
    return gamma_workload(rates, {"poisson": 1.0, "bursts": 4.0}[kind], 4000.0, seed=5)


def drawn(how: str, workload: Workload, seed: int) -> Workload:
    return resampled(workload, seed) if how == "resampled" else synthesize(workload, 20.0, seed)


@pytest.mark.parametrize("how", ["resampled", "synthesized"])
@pytest.mark.parametrize("kind", ["poisson", "bursts", "storms"])
def test_rate_cv_and_dispersion_match_those_of_the_source(how: str, kind: str) -> None:
    wanted = statistics(source(kind), SCALES_S).models.values()

    found = [statistics(drawn(how, source(kind), seed), SCALES_S).models.values() for seed in range(6)]

    rates = np.array([[row.rate_per_s for row in rows] for rows in found]).mean(axis=0)
    cvs = np.array([[row.cv for row in rows] for rows in found], dtype=np.float64).mean(axis=0)
    # Of the models together: one alone has too few windows of the longest scale.
    dispersion = np.array([[row.dispersion for row in rows] for rows in found], dtype=np.float64).mean(axis=(0, 1))
    wanted_dispersion = np.array([row.dispersion for row in wanted], dtype=np.float64).mean(axis=0)
    assert rates == pytest.approx([row.rate_per_s for row in wanted], rel=0.1)
    assert cvs == pytest.approx([row.cv for row in wanted], rel=0.25)
    assert dispersion == pytest.approx(wanted_dispersion, rel=0.3)


@pytest.mark.parametrize("how", ["resampled", "synthesized"])
def test_rates_follow_the_source_over_time(how: str) -> None:
    rise = workload_from_arrivals({"a": np.sort(1000 * np.sqrt(np.random.default_rng(0).random(20_000)))})

    again = drawn(how, rise, 1)

    quarters = np.histogram(again.arrival_s, 4, (0, 1000))[0]
    assert quarters == pytest.approx([1250, 3750, 6250, 8750], rel=0.1)


@pytest.mark.parametrize("how", ["resampled", "synthesized"])
def test_arrivals_are_fresh_reproducible_and_as_long(how: str) -> None:
    workload = source("bursts")

    again = drawn(how, workload, 1)

    assert again.arrival_s.tolist() == drawn(how, workload, 1).arrival_s.tolist()
    assert again.names == workload.names
    assert len(np.intersect1d(again.arrival_s, workload.arrival_s)) == 0
    assert len(np.intersect1d(again.arrival_s, drawn(how, workload, 2).arrival_s)) == 0
    assert again.span_s == pytest.approx(workload.span_s, rel=0.02)


@pytest.mark.parametrize("kind", ["poisson", "bursts"])
def test_numbers_of_requests_vary_as_those_of_the_process_do(kind: str) -> None:
    process = [gamma_workload({"m": 2.0}, {"poisson": 1.0, "bursts": 4.0}[kind], 400.0, seed) for seed in range(200)]

    again = [resampled(workload, 0) for workload in process]

    ratio = np.array([len(own) for own in again]) / np.array([len(own) for own in process])
    spread = np.std([len(own) for own in process]) / np.mean([len(own) for own in process])
    assert ratio.mean() == pytest.approx(1.0, abs=0.05)
    assert spread / 2 < ratio.std() < 1.5 * spread


def test_slos_are_those_of_requests_of_the_same_model() -> None:
    workload = source("poisson")
    own_slo_s = np.where(np.arange(len(workload)) % 4 == 0, 0.5, np.nan)
    workload = replace(workload, slo_s=np.where(workload.model == 1, own_slo_s, np.nan))

    for again in (resampled(workload, 3), synthesize(workload, 20.0, 3)):
        assert np.isnan(again.slo_s[again.model != 1]).all()
        assert np.nanmax(again.slo_s) == np.nanmin(again.slo_s) == 0.5
        assert np.isfinite(again.slo_s[again.model == 1]).mean() == pytest.approx(0.25, abs=0.05)


def test_even_arrivals_stay_nearly_even() -> None:
    workload = workload_from_arrivals({"a": even_arrivals(5.0, 1000.0), "idle": np.empty(0)})

    again = statistics(resampled(workload, 0), [10.0])

    assert again.models["a"].num_requests == pytest.approx(5000, abs=10)
    assert again.models["a"].cv == pytest.approx(0, abs=0.05)
    assert again.models["idle"].num_requests == 0


@pytest.mark.parametrize("arrival_s", [[], [3.0], [2.0, 2.0, 2.0]])
def test_what_spans_no_time_comes_back_as_it_is(arrival_s: list[float]) -> None:
    workload = workload_from_arrivals({"a": np.array(arrival_s), "b": np.empty(0)})

    assert resampled(workload, 0).arrival_s.tolist() == arrival_s
    assert synthesize(workload, 1.0, 0).arrival_s.tolist() == arrival_s


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.25, 1e3, 1e4]), st.integers(0, 3)), max_size=40),
    st.sampled_from([None, 1.0, 300.0, 1e7]),
    st.integers(0, 5),
)
def test_any_workload_can_be_drawn_from(rows: list[tuple[float, int]], window_s: float | None, seed: int) -> None:
    arrivals = {name: np.sort([at for at, own in rows if own == i]) for i, name in enumerate("abcd")}
    workload = workload_from_arrivals(arrivals)

    again = resampled(workload, seed, window_s)

    assert (again.num_requests_of[workload.num_requests_of == 0] == 0).all()
    assert (again.arrival_s >= workload.arrival_s[:1].sum()).all()


@pytest.mark.parametrize("window_s", [0.0, -1.0, math.nan, math.inf, 1e-9])
def test_a_window_that_means_nothing_is_refused(window_s: float) -> None:
    with pytest.raises(InvalidWorkload):
        resampled(source("poisson"), 0, window_s)


@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=4))
def test_operational_time_and_instants_are_inverse(counts: list[list[int]]) -> None:
    expected = np.array(counts, dtype=np.float64)
    modulation = Modulation(10.0, 2.0, expected)
    model = np.repeat(np.arange(len(counts), dtype=np.int32), 20)
    operational = np.tile(np.linspace(0.01, 0.99, 20), len(counts)) * modulation.length[model]

    instants = modulation.instants(operational, model)

    assert modulation.operational(instants, model) == pytest.approx(operational, abs=1e-9)
    assert ((instants >= 10.0) & (instants <= 16.0)).all()


def test_rates_follow_counts_only_beyond_what_bursts_explain() -> None:
    steady = calibrated(source("bursts"), 40.0).modulation.expected
    stormy = calibrated(source("storms"), 40.0).modulation.expected

    variation = [own.std(axis=1) / own.mean(axis=1) for own in (steady, stormy)]
    assert variation[0].max() < 0.5 * variation[1].min()


def test_resampling_costs_a_few_times_what_drawing_did() -> None:
    rates = power_law_rates(64.0, 64)
    rate_of = {f"m{i}": rate for i, rate in enumerate(rates)}
    workload = gamma_workload(rate_of, 4.0, 156.0, seed=0)
    drawing_s, resampling_s = [], []
    for seed in range(8):
        begun_s = time.perf_counter()
        gamma_workload(rate_of, 4.0, 156.0, seed)
        drawn_s = time.perf_counter()
        resampled(workload, seed)
        drawing_s.append(drawn_s - begun_s)
        resampling_s.append(time.perf_counter() - drawn_s)

    assert min(resampling_s) < 30 * min(drawing_s)
