"""`alpaserve workload maf1|maf2|azure-llm|servegen`: public traces in their official forms."""

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.files import read_lines, read_series
from alpaserve_cli.workload_options import (
    BeginOption,
    CvScaleOption,
    EndOption,
    ModelsOption,
    RateScaleOption,
    SeedOption,
    SpecOption,
    TimeScaleOption,
    WeightsOption,
    check_cut,
    check_size,
    model_names,
    model_weights,
    scaled,
)
from services.core.arrivals import gamma_workload_from_counts, refitted_workload
from services.core.errors import InvalidArgument
from services.core.llm_traces import ClientWindow, read_azure_llm, read_servegen_client, servegen_workload
from services.core.traces import read_maf1_days, read_maf2
from services.core.workload import Workload

TraceArgument = Annotated[Path, typer.Argument(help="The trace, .gz or not.")]
_MINUTE_S = 60
_CLIENT_FILE = re.compile(r"chunk-(\d+)-trace\.csv(\.gz)?")


def maf1(
    days: Annotated[list[Path], typer.Argument(help="The files of consecutive days, .gz or not.")],
    spec: SpecOption = None,
    models: ModelsOption = None,
    begin: BeginOption = 0.0,
    end: EndOption = 3600.0,
    rate_scale: RateScaleOption = 2e-3,
    cv: Annotated[float, typer.Option("--cv", help="CV of the Gamma gaps within a minute.")] = 4.0,
    time_scale: TimeScaleOption = 1.0,
    seed: SeedOption = 0,
) -> Workload:
    """Draw Gamma arrivals that follow Azure Functions 2019, minute by minute; by default its first hour.

    As published, every minute begins a process of its own: at few requests a minute and a high CV there
    are more of them than --rate-scale says.
    """
    check_cut(begin, end)
    minutes = begin / _MINUTE_S, end / _MINUTE_S
    if not (math.isfinite(end) and all(minute.is_integer() for minute in minutes)):
        raise InvalidArgument(f"--begin and --end must be whole minutes, got {begin:g} and {end:g} s")
    names = model_names(spec, models)
    first, num_minutes = int(minutes[0]), int(minutes[1] - minutes[0])
    counts = read_series(days, lambda texts: read_maf1_days(texts, names, first, num_minutes))
    check_size(sum(int(row.sum()) for row in counts.values()) * rate_scale)
    drawn = gamma_workload_from_counts(counts, _MINUTE_S, rate_scale, cv, seed)
    return scaled(drawn, 1.0, 1.0, time_scale, seed)


def maf2(
    trace: TraceArgument,
    spec: SpecOption = None,
    models: ModelsOption = None,
    begin: BeginOption = 0.0,
    end: EndOption = math.inf,
    window: Annotated[float, typer.Option("--window", help="Seconds for which one Gamma process is fitted.")] = 5400.0,
    replay: Annotated[bool, typer.Option("--replay", help="Take the invocations themselves, fit nothing.")] = False,
    rate_scale: RateScaleOption = 1.0,
    cv_scale: CvScaleOption = 1.0,
    time_scale: TimeScaleOption = 1.0,
    seed: SeedOption = 0,
) -> Workload:
    """Draw Gamma arrivals fitted to Azure Functions 2021 window by window, or replay its invocations."""
    check_cut(begin, end)
    names = model_names(spec, models)
    invocations = read_lines(trace, lambda lines: read_maf2(lines, names, begin, end))
    if replay:
        return scaled(invocations, rate_scale, cv_scale, time_scale, seed)
    check_size(len(invocations) * rate_scale)
    fitted = refitted_workload(invocations, window, rate_scale, cv_scale, seed)
    return scaled(fitted, 1.0, 1.0, time_scale, seed)


def azure_llm(
    trace: TraceArgument,
    spec: SpecOption = None,
    models: ModelsOption = None,
    weights: WeightsOption = None,
    begin: BeginOption = 0.0,
    end: EndOption = math.inf,
    rate_scale: RateScaleOption = 1.0,
    cv_scale: CvScaleOption = 1.0,
    time_scale: TimeScaleOption = 1.0,
    seed: SeedOption = 0,
) -> Workload:
    """Deal the requests of Azure's LLM trace of 2023 or 2024 to the models.

    In turn, which evens the gaps of each, or with --weights at random in these proportions.
    """
    check_cut(begin, end)
    names = model_names(spec, models)
    shares = None if weights is None else model_weights(names, weights).tolist()
    dealt = read_lines(trace, lambda lines: read_azure_llm(lines, names, shares, seed, begin, end))
    return scaled(dealt, rate_scale, cv_scale, time_scale, seed)


def servegen(
    clients: Annotated[Path, typer.Argument(help="A directory of chunk-<id>-trace.csv, .gz or not.")],
    spec: SpecOption = None,
    models: ModelsOption = None,
    begin: BeginOption = 0.0,
    end: EndOption = math.inf,
    rate_scale: RateScaleOption = 1.0,
    cv_scale: CvScaleOption = 1.0,
    time_scale: TimeScaleOption = 1.0,
    seed: SeedOption = 0,
) -> Workload:
    """Draw the arrivals of ServeGen's clients, each one of those of a model."""
    check_cut(begin, end)
    names = model_names(spec, models)
    read = [read_lines(path, read_servegen_client) for path in _client_files(clients)]
    check_size(sum(_num_expected(own, begin, end) for windows in read for own in windows) * rate_scale)
    drawn = servegen_workload(read, names, seed, begin, end, rate_scale)
    return scaled(drawn, 1.0, cv_scale, time_scale, seed)


def _client_files(directory: Path) -> list[Path]:
    """The clients' files by number. Raises: InvalidArgument without any."""
    if not directory.is_dir():
        raise InvalidArgument(f"{directory}: not a directory")
    numbered = [(match, path) for path in directory.iterdir() if (match := _CLIENT_FILE.fullmatch(path.name))]
    if not numbered:
        raise InvalidArgument(f"{directory}: no chunk-<id>-trace.csv in it")
    return [path for _, path in sorted(numbered, key=lambda found: (int(found[0][1]), found[1]))]


def _num_expected(window: ClientWindow, begin_s: float, end_s: float) -> float:
    return window.rate_per_s * max(0.0, min(window.end_s, end_s) - max(window.begin_s, begin_s))
