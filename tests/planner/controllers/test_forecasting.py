"""Forecasts: what they follow, what they leave alone, and how sure they claim to be."""

import numpy as np
import pytest
from numpy.typing import NDArray

from services.planner.controllers.forecasting import forecast, forecast_counts
from services.planner.controllers.observation import HISTORY_BUCKET_S, ArrivalCounts, Observation

HOUR = 12
HORIZON = 6


def history(*levels: NDArray[np.float64], seed: int = 0) -> ArrivalCounts:
    return ArrivalCounts(HISTORY_BUCKET_S, np.random.default_rng(seed).poisson(np.stack(levels)).astype(np.int64))


def even(level: float, num_buckets: int) -> NDArray[np.float64]:
    return np.full(num_buckets, level)


def test_an_even_rate_is_expected_to_stay() -> None:
    found = forecast_counts(history(even(60.0, 96), even(5.0, 96)), HORIZON, np.ones(2))

    assert np.abs(found.expected.mean(axis=1) / np.array([60.0, 5.0]) - 1).max() < 0.2
    assert found.spread[0] < 0.1


def test_an_hourly_pattern_is_expected_again() -> None:
    busy = np.where(np.arange(10 * HOUR) % HOUR < 4, 90.0, 6.0)

    found = forecast_counts(history(busy), HORIZON, np.ones(1)).expected[0]

    # The history ends with an hour: the first four buckets of the next are busy again.
    assert found[:4].mean() > 60
    assert found[4:].mean() < 30


def test_a_new_level_is_followed() -> None:
    grown = np.concatenate([even(20.0, 90), even(80.0, 18)])

    assert forecast_counts(history(grown), HORIZON, np.ones(1)).expected[0].mean() > 60


def test_bursts_are_not_taken_for_wrong_forecasts() -> None:
    rng = np.random.default_rng(1)
    bursts = rng.negative_binomial(4.0, 4.0 / (4.0 + 60.0), (8, 96)).astype(np.float64)

    as_bursts = forecast_counts(ArrivalCounts(HISTORY_BUCKET_S, bursts.astype(np.int64)), HORIZON, np.full(8, 4.0))
    as_errors = forecast_counts(ArrivalCounts(HISTORY_BUCKET_S, bursts.astype(np.int64)), HORIZON, np.ones(8))

    assert as_bursts.spread.max() < as_errors.spread.max()


def test_a_model_never_asked_for_may_be_asked_for_yet() -> None:
    found = forecast_counts(history(even(0.0, 96), even(30.0, 96)), HORIZON, np.ones(2))

    assert 0 < found.expected[0].sum() < 1


def test_without_history_the_rates_of_late_are_held_and_few_counts_are_unsure() -> None:
    counts = {"rare": np.zeros(600, np.int64), "busy": np.full(600, 3)}
    counts["rare"][::200] = 1

    outlook = forecast(Observation.of(("rare", "busy"), 600.0, counts), 1_800.0)

    assert np.allclose(outlook.rates_per_s, [3.5 / 600, 1800.5 / 600])
    assert outlook.spread[0] > 5 * outlook.spread[1]


@pytest.mark.parametrize("num_buckets", [HOUR + HORIZON, 2 * HOUR, 3 * HOUR + HORIZON, 4 * HOUR])
def test_a_short_history_is_enough(num_buckets: int) -> None:
    found = forecast_counts(history(even(60.0, num_buckets), even(0.0, num_buckets)), HORIZON, np.ones(2))

    assert np.abs(found.expected[0].mean() / 60.0 - 1) < 0.2
    assert np.isfinite(found.expected).all()
    assert np.isfinite(found.spread).all()
