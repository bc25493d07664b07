"""`alpaserve workload`: draw, read, change and describe workloads."""

from dataclasses import asdict
from typing import Annotated

import typer

from alpaserve_cli.files import read_workload
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.workload_changes import WorkloadArgument
from alpaserve_cli.workload_sources import MAKERS, written
from services.core.burstiness import Statistics, statistics

workload_app = typer.Typer(help="Draw, read, change and describe workloads.", no_args_is_help=True)
for _name, _make in MAKERS.items():
    workload_app.command(_name)(written(_make))


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
