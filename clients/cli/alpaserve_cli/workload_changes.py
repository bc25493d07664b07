"""`alpaserve workload resample|scale`: other workloads made of a given one."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.files import read_workload
from alpaserve_cli.workload_options import (
    BeginOption,
    CvScaleOption,
    EndOption,
    RateScaleOption,
    SeedOption,
    TimeScaleOption,
    check_cut,
    scaled,
)
from services.core.errors import InvalidArgument
from services.core.synthesis import resampled, synthesize
from services.core.workload import Workload

WorkloadArgument = Annotated[Path, typer.Argument(help="CSV arrival_s,model[,slo_s], .gz or not.")]


class Gaps(StrEnum):
    """Where the gaps of a resampled workload come from."""

    OBSERVED = "observed"
    GAMMA = "gamma"


def resample(
    workload: WorkloadArgument,
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
) -> Workload:
    """Draw other arrivals with the rates and the burstiness of a workload."""
    check_cut(begin, end)
    source = read_workload(workload).between(begin, end)
    if gaps is Gaps.OBSERVED:
        drawn = resampled(source, seed, window)
    elif window is None:
        raise InvalidArgument("--gaps gamma needs a --window")
    else:
        drawn = synthesize(source, window, seed)
    return scaled(drawn, rate_scale, cv_scale, time_scale, seed)


def scale(
    workload: WorkloadArgument,
    begin: BeginOption = 0.0,
    end: EndOption = math.inf,
    rate_scale: RateScaleOption = 1.0,
    cv_scale: CvScaleOption = 1.0,
    time_scale: TimeScaleOption = 1.0,
    seed: SeedOption = 0,
) -> Workload:
    """Cut a workload and change its rate, its burstiness or its pace; its arrivals otherwise stay."""
    check_cut(begin, end)
    source = read_workload(workload).between(begin, end)
    return scaled(source, rate_scale, cv_scale, time_scale, seed)
