"""Arrival forecasts per model: several methods, each weighed by how it did on the model's own past.

Exponential smoothing and theta models, seasonal where there is enough history, are statsforecast's;
persistence over several lengths, of the same hour and of the same day stand beside them. Errors are of
square roots of counts over the horizon, which vary alike for rare and for frequent models.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.planner.controllers.observation import ArrivalCounts, Observation
from services.planner.controllers.outlook import Expected

Series = NDArray[np.float64]

_HOUR_S, _DAY_S = 3_600.0, 86_400.0
_MOST_HISTORY_S = 2 * _DAY_S + 6 * _HOUR_S
_NUM_ORIGINS = 4
# With fewer requests in all there is nothing to fit; slow methods are tried on so many models, the busiest.
_FEWEST_REQUESTS = 100
_MOST_SLOW = 64
# A few origins tell little about one model, so what all models say of a method counts as much.
_OWN_SHARE = 0.5
# A method whose error is a tenth smaller weighs 1.9 times as much.
_SHARPNESS = 6.0
# Errors of a model count as much as those of all models in so many origins.
_POOLED_ORIGINS = 4
_MOST_SPREAD = 1.5
_TINY = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """Counts to expect per bucket, `expected` (num_models, num_buckets); `spread` (num_models,) of the
    logarithm of what really comes over all of them; and the method that weighs most for each model."""

    expected: Series
    spread: Series
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """`forecast` makes (num_series, num_buckets) to come of what was, (num_series, num_past); it needs so much past."""

    name: str
    fewest_buckets: int
    forecast: Callable[[Series, int], Series]
    is_slow: bool = False


def forecast(observation: Observation, horizon_s: float) -> Expected:
    """Rates over the horizon and how sure they are, bursts as they were of late.

    Raises: ModuleNotFoundError without statsforecast.
    """
    history = observation.history
    num_buckets = max(math.ceil(horizon_s / history.bucket_s - 1e-9), 1)
    if history.num_buckets < num_buckets + round(_HOUR_S / history.bucket_s):
        return _unknown_past(observation, horizon_s)
    cv = observation.gap_cvs()
    found = forecast_counts(history, num_buckets, cv)
    rates = found.expected / history.bucket_s
    return Expected(observation.names, rates, history.bucket_s, found.spread, cv)


def forecast_counts(history: ArrivalCounts, num_buckets: int, cv: Series) -> Forecasts:
    """The next buckets of every model, (num_models,) `cv` telling apart bursts from wrong forecasts."""
    past = history.latest(_MOST_HISTORY_S).counts.astype(np.float64)
    candidates = [own for own in methods(history.bucket_s) if past.shape[1] - num_buckets >= own.fewest_buckets]
    errors, logs = _backtest(past, num_buckets, candidates)
    weights = _weights(errors)
    expected = np.zeros((len(past), num_buckets))
    for weight, method in zip(weights, candidates, strict=True):
        rows = weight > 0
        if rows.any():
            expected[rows] += weight[rows, None] * np.sqrt(method.forecast(past[rows], num_buckets))
    # A model that was never asked for may be asked for yet.
    expected = np.maximum(expected**2, 0.5 / past.shape[1])
    spread = _spread(np.einsum("km,kmo->mo", weights, logs), expected.sum(axis=1), cv)
    return Forecasts(expected, spread, tuple(candidates[index].name for index in weights.argmax(axis=0).tolist()))


def methods(bucket_s: float) -> list[Method]:
    """Those that there are, persistence first."""
    hour, day = round(_HOUR_S / bucket_s), round(_DAY_S / bucket_s)
    from_library = _library()
    return [
        Method("last hour", hour, lambda past, n: _held(past[:, -hour:].mean(axis=1), n)),
        Method("last quarter", hour, lambda past, n: _held(past[:, -(hour // 4) :].mean(axis=1), n)),
        Method("all", hour, lambda past, n: _held(past.mean(axis=1), n)),
        Method("same hour", 3 * hour, lambda past, n: _seasonal(past, n, hour)),
        Method("same day", day, lambda past, n: _seasonal(past, n, day)),
        Method("smoothing", hour, _each(from_library.SimpleExponentialSmoothingOptimized())),
        Method("theta", 3 * hour, _each(from_library.DynamicOptimizedTheta(season_length=hour)), is_slow=True),
    ]


def _library() -> Any:
    # It takes a second to import, and only this controller needs it.
    if find_spec("statsforecast") is None:
        raise ModuleNotFoundError("forecasts need statsforecast: install alpaserve[forecasts]", name="statsforecast")
    from statsforecast import models

    return models


def _each(model: Any) -> Callable[[Series, int], Series]:
    """A library's model, fitted to every series by itself; a series that it cannot fit is held at its mean."""

    def forecast_each(past: Series, num_buckets: int) -> Series:
        found = _held(past.mean(axis=1), num_buckets)
        for row, own in enumerate(past):
            if own.std() > 0:
                found[row] = model.forecast(y=own, h=num_buckets)["mean"]
        return np.maximum(np.nan_to_num(found), 0.0)

    return forecast_each


def _held(level: Series, num_buckets: int) -> Series:
    return np.repeat(level[:, None], num_buckets, axis=1)


def _seasonal(past: Series, num_buckets: int, season: int) -> Series:
    """The mean of the same buckets of the last seasons, three at most."""
    num_seasons = min(past.shape[1] // season, 3)
    mean: Series = past[:, -num_seasons * season :].reshape(len(past), num_seasons, season).mean(axis=1)
    return mean[:, np.arange(num_buckets) % season]


def _backtest(past: Series, num_buckets: int, candidates: Sequence[Method]) -> tuple[Series, Series]:
    """Mean errors (num_methods, num_models), NaN where a method was not tried; and the logarithm of what
    came over what was forecast, (num_methods, num_models, num_origins)."""
    origins = list(_origins(past.shape[1], num_buckets, candidates[0].fewest_buckets))
    total = past.sum(axis=1)
    is_lively = total >= _FEWEST_REQUESTS
    is_busy = is_lively & (total >= np.sort(total)[-min(_MOST_SLOW, len(total))])
    shape = (len(candidates), len(past), len(origins))
    errors, logs = np.full(shape, np.nan), np.zeros(shape)
    for place, origin in enumerate(origins):
        came = past[:, origin : origin + num_buckets].sum(axis=1)
        for index, method in enumerate(candidates):
            if origin < method.fewest_buckets:
                continue
            rows = np.ones(len(past), dtype=np.bool_) if index == 0 else is_busy if method.is_slow else is_lively
            found = np.maximum(method.forecast(past[rows, :origin], num_buckets).sum(axis=1), 0.0)
            errors[index, rows, place] = np.abs(np.sqrt(came[rows]) - np.sqrt(found))
            logs[index, rows, place] = np.log((came[rows] + 1) / (found + 1))
    return errors.mean(axis=2), logs


def _origins(num_past: int, num_buckets: int, fewest_buckets: int) -> Iterator[int]:
    """The latest instants of which the future is known, a horizon apart, with so much past."""
    for index in range(_NUM_ORIGINS):
        origin = num_past - (index + 1) * num_buckets
        if origin >= fewest_buckets:
            yield origin


def _weights(errors: Series) -> Series:
    """What each method weighs for each model, (num_methods, num_models), by its errors relative to the
    first's, on the model itself and on all models together; 0 where it was not tried."""
    is_tried = ~np.isnan(errors)
    own = np.log((errors + _TINY) / (errors[0] + _TINY))
    totals = [(error[tried].sum(), errors[0][tried].sum()) for error, tried in zip(errors, is_tried, strict=True)]
    of_all = np.array([math.log((total + _TINY) / (first + _TINY)) for total, first in totals])
    scores = np.where(is_tried, _OWN_SHARE * own + (1 - _OWN_SHARE) * of_all[:, None], np.inf)
    weights = np.exp(-_SHARPNESS * (scores - scores.min(axis=0)))
    normal: Series = weights / weights.sum(axis=0)
    return normal


def _spread(logs: Series, expected: Series, cv: Series) -> Series:
    """How far off forecasts are beyond the chance that bursts have in them, (num_models,)."""
    squared = (logs**2).mean(axis=1) - np.maximum(cv, 1.0) ** 2 / (expected + 1)
    num_origins = logs.shape[1]
    pooled = max(float(np.average(squared, weights=expected)), 0.0)
    shrunk = (num_origins * squared + _POOLED_ORIGINS * pooled) / (num_origins + _POOLED_ORIGINS)
    spread: Series = np.clip(np.sqrt(np.maximum(shrunk, 0.0)), 0.0, _MOST_SPREAD)
    return spread


def _unknown_past(observation: Observation, horizon_s: float) -> Expected:
    """Without history: the rates of late, held, as unsure as the counts are few."""
    recent, cv = observation.recent, observation.gap_cvs()
    num_seen = recent.counts.sum(axis=1) + 0.5
    spread = np.clip(np.maximum(cv, 1.0) / np.sqrt(num_seen), 0.0, _MOST_SPREAD)
    rates = (num_seen / max(recent.span_s, recent.bucket_s))[:, None]
    return Expected(observation.names, rates, horizon_s, spread, cv)
