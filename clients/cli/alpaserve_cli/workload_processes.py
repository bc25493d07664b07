"""`alpaserve workload gamma|poisson|even|markov`: arrivals drawn from a process."""

from typing import Annotated

import typer

from alpaserve_cli.workload_options import (
    DurationOption,
    LikeOption,
    ModelsOption,
    RateOption,
    SeedOption,
    SpecOption,
    SplitOption,
    WeightsOption,
    check_size,
    model_names,
    model_rates,
)
from services.core.arrivals import gamma_workload, markov_workload
from services.core.errors import InvalidArgument
from services.core.workload import Workload


def gamma(
    rate: RateOption,
    duration: DurationOption,
    cv: Annotated[float, typer.Option("--cv", help="Standard deviation of the gaps over their mean.")],
    spec: SpecOption = None,
    models: ModelsOption = None,
    split: SplitOption = 0.0,
    weights: WeightsOption = None,
    like: LikeOption = None,
    seed: SeedOption = 0,
) -> Workload:
    """Draw Gamma arrivals: bursty above a CV of 1."""
    rates = model_rates(model_names(spec, models), rate, split, weights, like)
    check_size(rate * duration)
    return gamma_workload(rates, cv, duration, seed)


def poisson(
    rate: RateOption,
    duration: DurationOption,
    spec: SpecOption = None,
    models: ModelsOption = None,
    split: SplitOption = 0.0,
    weights: WeightsOption = None,
    like: LikeOption = None,
    seed: SeedOption = 0,
) -> Workload:
    """Draw Poisson arrivals."""
    return gamma(rate, duration, 1.0, spec, models, split, weights, like, seed)


def even(
    rate: RateOption,
    duration: DurationOption,
    spec: SpecOption = None,
    models: ModelsOption = None,
    split: SplitOption = 0.0,
    weights: WeightsOption = None,
    like: LikeOption = None,
) -> Workload:
    """Make arrivals of equal gaps, every model's first at 0."""
    return gamma(rate, duration, 0.0, spec, models, split, weights, like, 0)


def markov(
    rate: RateOption,
    duration: DurationOption,
    state: Annotated[
        list[str],
        typer.Option("--state", help="LEVEL:SECONDS, twice or more: a rate relative to the others', a mean stay."),
    ],
    spec: SpecOption = None,
    models: ModelsOption = None,
    split: SplitOption = 0.0,
    weights: WeightsOption = None,
    like: LikeOption = None,
    seed: SeedOption = 0,
) -> Workload:
    """Draw Markov-modulated Poisson arrivals: --state 1:10 --state 0:50 is on for 10 s, off for 50.

    --rate stays the mean over time.
    """
    levels, sojourns_s = zip(*(_level_and_sojourn(text) for text in state), strict=True)
    rates = model_rates(model_names(spec, models), rate, split, weights, like)
    check_size(rate * duration)
    check_size(duration / max(min(sojourns_s), 1e-300) * len(rates))
    return markov_workload(rates, levels, sojourns_s, duration, seed)


def _level_and_sojourn(text: str) -> tuple[float, float]:
    level, _, sojourn = text.partition(":")
    try:
        return float(level), float(sojourn)
    except ValueError:
        raise InvalidArgument(f"--state must be LEVEL:SECONDS, got {text!r}") from None
