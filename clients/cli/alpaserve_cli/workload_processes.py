"""`alpaserve workload gamma|poisson|even|markov`: arrivals drawn from a process."""

from typing import Annotated

import typer

from alpaserve_cli.output import Output, OutputOption
from alpaserve_cli.workload_options import (
    DurationOption,
    LikeOption,
    ModelsOption,
    OutOption,
    RateOption,
    SeedOption,
    SpecOption,
    SplitOption,
    WeightsOption,
    check_size,
    model_names,
    model_rates,
    write,
)
from services.core.arrivals import gamma_workload, markov_workload
from services.core.errors import InvalidArgument


def gamma(
    out: OutOption,
    rate: RateOption,
    duration: DurationOption,
    cv: Annotated[float, typer.Option("--cv", help="Standard deviation of the gaps over their mean.")],
    spec: SpecOption = None,
    models: ModelsOption = None,
    split: SplitOption = 0.0,
    weights: WeightsOption = None,
    like: LikeOption = None,
    seed: SeedOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Draw Gamma arrivals: bursty above a CV of 1."""
    rates = model_rates(model_names(spec, models), rate, split, weights, like)
    check_size(rate * duration)
    write(gamma_workload(rates, cv, duration, seed), out, output)


def poisson(
    out: OutOption,
    rate: RateOption,
    duration: DurationOption,
    spec: SpecOption = None,
    models: ModelsOption = None,
    split: SplitOption = 0.0,
    weights: WeightsOption = None,
    like: LikeOption = None,
    seed: SeedOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Draw Poisson arrivals."""
    gamma(out, rate, duration, 1.0, spec, models, split, weights, like, seed, output)


def even(
    out: OutOption,
    rate: RateOption,
    duration: DurationOption,
    spec: SpecOption = None,
    models: ModelsOption = None,
    split: SplitOption = 0.0,
    weights: WeightsOption = None,
    like: LikeOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write arrivals of equal gaps, every model's first at 0."""
    gamma(out, rate, duration, 0.0, spec, models, split, weights, like, 0, output)


def markov(
    out: OutOption,
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
    output: OutputOption = Output.TABLE,
) -> None:
    """Draw Markov-modulated Poisson arrivals: --state 1:10 --state 0:50 is on for 10 s, off for 50.

    --rate stays the mean over time.
    """
    levels, sojourns_s = zip(*(_level_and_sojourn(text) for text in state), strict=True)
    rates = model_rates(model_names(spec, models), rate, split, weights, like)
    check_size(rate * duration)
    check_size(duration / max(min(sojourns_s), 1e-300) * len(rates))
    write(markov_workload(rates, levels, sojourns_s, duration, seed), out, output)


def _level_and_sojourn(text: str) -> tuple[float, float]:
    level, _, sojourn = text.partition(":")
    try:
        return float(level), float(sojourn)
    except ValueError:
        raise InvalidArgument(f"--state must be LEVEL:SECONDS, got {text!r}") from None
