"""`alpaserve workload`: draw, read, change and describe workloads."""

import math
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.files import read_workload
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.workload_options import (
    BeginOption,
    CvScaleOption,
    EndOption,
    OutOption,
    RateScaleOption,
    SeedOption,
    TimeScaleOption,
    check_cut,
    scaled,
    write,
)
from alpaserve_cli.workload_processes import even, gamma, markov, poisson
from alpaserve_cli.workload_traces import azure_llm, maf1, maf2, servegen
from services.core.burstiness import Statistics, statistics
from services.core.errors import InvalidArgument
from services.core.synthesis import resampled, synthesize

workload_app = typer.Typer(help="Draw, read, change and describe workloads.", no_args_is_help=True)
workload_app.command()(gamma)
workload_app.command()(poisson)
workload_app.command()(even)
workload_app.command()(markov)
workload_app.command()(maf1)
workload_app.command()(maf2)
workload_app.command("azure-llm")(azure_llm)
workload_app.command()(servegen)

WorkloadArgument = Annotated[Path, typer.Argument(help="CSV arrival_s,model[,slo_s], .gz or not.")]


class Gaps(StrEnum):
    """Where the gaps of a resampled workload come from."""

    OBSERVED = "observed"
    GAMMA = "gamma"


@workload_app.command()
def resample(
    workload: WorkloadArgument,
    out: OutOption,
    gaps: Annotated[Gaps, typer.Option("--gaps", help="Runs of the observed gaps, or a Gamma as varied.")] = (
        Gaps.OBSERVED
    ),
    window: Annotated[
        float | None, typer.Option("--window", help="Seconds for which a rate holds; by default about 20 requests.")
    ] = None,
    begin: BeginOption = 0.0,
    end: EndOption = math.inf,
    rate_scale: RateScaleOption = 1.0,
    cv_scale: CvScaleOption = 1.0,
    time_scale: TimeScaleOption = 1.0,
    seed: SeedOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Draw other arrivals with the rates and the burstiness of a workload."""
    check_cut(begin, end)
    source = read_workload(workload).between(begin, end)
    if gaps is Gaps.OBSERVED:
        drawn = resampled(source, seed, window)
    elif window is None:
        raise InvalidArgument("--gaps gamma needs a --window")
    else:
        drawn = synthesize(source, window, seed)
    write(scaled(drawn, rate_scale, cv_scale, time_scale, seed), out, output)


@workload_app.command()
def scale(
    workload: WorkloadArgument,
    out: OutOption,
    begin: BeginOption = 0.0,
    end: EndOption = math.inf,
    rate_scale: RateScaleOption = 1.0,
    cv_scale: CvScaleOption = 1.0,
    time_scale: TimeScaleOption = 1.0,
    seed: SeedOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cut a workload and change its rate, its burstiness or its pace; its arrivals otherwise stay."""
    check_cut(begin, end)
    source = read_workload(workload).between(begin, end)
    write(scaled(source, rate_scale, cv_scale, time_scale, seed), out, output)


@workload_app.command()
def describe(
    workload: WorkloadArgument,
    scale: Annotated[
        list[float] | None, typer.Option("--scale", help="Seconds at which counts are compared; repeatable.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how many requests each model has, and how bursty they are.

    The dispersion at a scale is variance over mean of the counts in windows of that length.
    """
    described = statistics(read_workload(workload), scale or None)
    if output is Output.JSON:
        print_json(asdict(described))
    else:
        _print_statistics(described)


def _print_statistics(described: Statistics) -> None:
    header = ("model", "requests", "rate /s", "CV", *(f"dispersion {scale:.3g} s" for scale in described.scales_s))
    rows = [(name, row.num_requests, row.rate_per_s, row.cv, *row.dispersion) for name, row in described.models.items()]
    total = described.total
    rows.append(("all", total.num_requests, total.rate_per_s, total.cv, *total.dispersion))
    print_table(f"{described.span_s:.6g} s from {described.begin_s:.6g} s on", header, rows)
