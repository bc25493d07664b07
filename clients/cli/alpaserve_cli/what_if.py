"""`alpaserve what-if`: what policies attain on other clusters, under other loads and SLOs."""

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from alpaserve.v1 import planner_pb2

from alpaserve_cli.explore_service import explore_request, grid_with_service
from alpaserve_cli.output import Output, OutputOption, percent, print_json, print_table, progress_line
from alpaserve_cli.plots import check_plottable, plot
from alpaserve_cli.search_options import (
    PlanOptions,
    RemoteOption,
    SearchSeedOption,
    TotalSimulationsOption,
    TotalTimeOption,
    read_problem,
    search_by,
)
from alpaserve_cli.searching import maker, num_cores
from alpaserve_cli.simulate import PROFILES, SPEC, WORKLOAD, DispatchOption
from services.core.errors import InvalidArgument
from services.core.placement import DEFAULT_DISPATCH
from services.core.problem import Problem
from services.planner.policies.grid_values import counts, scales, words
from services.planner.policies.plan import DEFAULT_POLICY, Plan, find_policy, warm_up
from services.planner.policies.search import Limits
from services.planner.policies.threads import unordered
from services.planner.policies.variations import Axes, Cell, explore

COLUMNS = (
    "policy",
    "num_devices",
    "rate_scale",
    "cv_scale",
    "slo_scale",
    "attainment",
    "upper_bound",
    "num_simulations",
)

PoliciesOption = Annotated[str, typer.Option("--policy", help="Policies to compare, separated by commas.")]
DevicesOption = Annotated[
    str | None, typer.Option("--devices", help="Numbers of devices, such as 8,16,32; by default the spec's.")
]
RateOption = Annotated[str, typer.Option("--rate", help="Requests per request of the workload, such as 0.5,1,2.")]
CvOption = Annotated[str, typer.Option("--cv", help="Multiples of the variation of the gaps, such as 1,2,4.")]
SloOption = Annotated[
    str | None,
    typer.Option("--slo", help="SLOs as multiples of the single-device latency; by default as they are."),
]
CsvOption = Annotated[Path | None, typer.Option("--csv", help="Write a row per cell.")]
PngOption = Annotated[Path | None, typer.Option("--png", help="Draw the grid; needs the extra `plots`.")]


def what_if(
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    workload: Annotated[Path | None, WORKLOAD] = None,
    devices: DevicesOption = None,
    rate: RateOption = "1",
    cv: CvOption = "1",
    slo: SloOption = None,
    policy: PoliciesOption = DEFAULT_POLICY,
    csv_path: CsvOption = None,
    png: PngOption = None,
    seed: SearchSeedOption = 0,
    time_budget: TotalTimeOption = None,
    max_simulations: TotalSimulationsOption = None,
    dispatch: DispatchOption = DEFAULT_DISPATCH,
    planner: RemoteOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Plan every combination of devices, load and SLOs.

    Cells are planned side by side; each has an equal share of the limits.
    """
    policies = words("--policy", policy)
    for name in policies:
        find_policy(name)
    options = PlanOptions(policies[0], dispatch or DEFAULT_DISPATCH, seed, time_budget, max_simulations)
    grid = planner_pb2.Grid(
        policies=policies,
        num_devices=() if devices is None else counts("--devices", devices),
        rate_scales=scales("--rate", rate),
        cv_scales=scales("--cv", cv),
        slo_scales=() if slo is None else scales("--slo", slo),
    )
    for path in (csv_path, png):
        check_writable(path)
    if png is not None:
        check_plottable()
    if planner is not None:
        request = explore_request(spec, profiles, workload)
        search_by(request.plan, options)
        request.grid.CopyFrom(grid)
        cells = _watched(grid, lambda on_cell: grid_with_service(request, planner, on_cell))
    else:
        problem = read_problem(spec, profiles, workload)
        cells = _watched(grid, lambda on_cell: grid_here(problem, grid, options, on_cell))
    cells = in_order(cells, policies)
    if csv_path is not None:
        write_csv(cells, csv_path)
    if png is not None:
        plot(cells, png)
    if output is Output.JSON:
        print_json({"cells": [row(cell) for cell in cells]})
    else:
        print_cells(cells)


def _watched(grid: planner_pb2.Grid, search: Callable[[Callable[[Cell], None]], list[Cell]]) -> list[Cell]:
    """The cells that a search comes to, counted on stderr."""
    axes = (grid.policies, grid.num_devices, grid.rate_scales, grid.cv_scales, grid.slo_scales)
    num_cells, num_done = 1, 0
    for axis in axes:
        num_cells *= max(len(axis), 1)
    with progress_line() as line:

        def on_cell(cell: Cell) -> None:
            nonlocal num_done
            num_done += 1
            line.show(f"{num_done} of {num_cells} cells")

        return search(on_cell)


def grid_here(
    problem: Problem, grid: planner_pb2.Grid, options: PlanOptions, on_cell: Callable[[Cell], None]
) -> list[Cell]:
    """Plan the grid in this process. Raises: what the policies raise on the largest cluster."""
    axes = Axes.of(
        problem,
        grid.policies,
        num_devices=grid.num_devices,
        rate_scales=grid.rate_scales,
        cv_scales=grid.cv_scales,
        slo_scales=grid.slo_scales,
    )
    for policy in axes.policies:
        warm_up(policy, problem)
    limits = options.limits(time.monotonic())

    def make(policy: str, varied: Problem, own_limits: Limits) -> Plan:
        return maker(replace(options, policy=policy), lambda attainment, count: None, map)(varied, own_limits)

    cells = []
    with unordered(num_cores()) as pool:
        for cell in explore(problem, axes, make, limits, options.seed, pool, num_cores()):
            cells.append(cell)
            on_cell(cell)
    return cells


def in_order(cells: Sequence[Cell], policies: Sequence[str]) -> list[Cell]:
    """By policy as they were named, then by rising values, whichever was done first."""

    def place(cell: Cell) -> tuple[float, ...]:
        at = cell.scenario
        return policies.index(cell.policy), at.num_devices, at.rate_scale, at.cv_scale, at.slo_scale or 0.0

    return sorted(cells, key=place)


def row(cell: Cell) -> dict[str, Any]:
    """A cell's columns."""
    at = cell.scenario
    values = (
        cell.policy,
        at.num_devices,
        at.rate_scale,
        at.cv_scale,
        at.slo_scale,
        cell.attainment,
        cell.upper_bound,
        cell.num_simulations,
    )
    return dict(zip(COLUMNS, values, strict=True))


def check_writable(path: Path | None) -> None:
    """Raises: InvalidArgument before any time is spent."""
    if path is not None and not path.parent.is_dir():
        raise InvalidArgument(f"{path}: there is no directory {path.parent}")


def write_csv(cells: Sequence[Cell], path: Path) -> None:
    """Write a header and a row per cell, empty where there is no value. Raises: InvalidArgument."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row(cell) for cell in cells)
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror or error}") from None


def print_cells(cells: Sequence[Cell]) -> None:
    """Print a row per cell."""
    print_table(
        "What if",
        ("policy", "devices", "rate ×", "CV ×", "SLO ×", "attainment", "at most", "simulations"),
        [
            (*list(row(cell).values())[:5], percent(cell.attainment), percent(cell.upper_bound), cell.num_simulations)
            for cell in cells
        ],
    )
