"""`alpaserve capacity`: how far a workload may grow while the cluster still attains a target."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from alpaserve_cli.explore_service import capacity_with_service, explore_request
from alpaserve_cli.files import read_placement
from alpaserve_cli.output import Output, OutputOption, ProgressLine, percent, print_json, print_table, progress_line
from alpaserve_cli.search_options import (
    NOT_REACHED,
    PlanOptions,
    PolicyOption,
    RemoteOption,
    SearchSeedOption,
    TotalSimulationsOption,
    TotalTimeOption,
    read_problem,
    search_by,
)
from alpaserve_cli.searching import all_cores, maker
from alpaserve_cli.simulate import PROFILES, SPEC, WORKLOAD, DispatchOption
from alpaserve_cli.target import probe_text
from alpaserve_cli.target_option import check_target
from services.core.documents import placement_document
from services.core.errors import InvalidArgument
from services.core.placement import DEFAULT_DISPATCH, Placement
from services.core.problem import Problem
from services.planner.policies.bisections import capacity as highest_scale
from services.planner.policies.plan import DEFAULT_POLICY, warm_up
from services.planner.policies.questions import (
    DEFAULT_PRECISION,
    Capacity,
    Probe,
    Target,
    Vary,
    bound_for,
    given_plan,
    no_bound,
    to_vary,
)


def capacity(
    vary: Annotated[str, typer.Option("--vary", help=f"What is scaled of the workload: {' or '.join(Vary)}.")],
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    workload: Annotated[Path | None, WORKLOAD] = None,
    target: Annotated[float, typer.Option("--target", help="The share of all requests to attain.")] = 0.99,
    placement: Annotated[
        Path | None, typer.Option("--placement", help="Keep this placement; by default every scale is planned for.")
    ] = None,
    precision: Annotated[
        float, typer.Option("--precision", help="Bisect until the bracket's ends differ by this share.")
    ] = DEFAULT_PRECISION,
    policy: PolicyOption = DEFAULT_POLICY,
    seed: SearchSeedOption = 0,
    time_budget: TotalTimeOption = None,
    max_simulations: TotalSimulationsOption = None,
    dispatch: DispatchOption = DEFAULT_DISPATCH,
    planner: RemoteOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find the most load that the cluster sustains at a target.

    Scales the requests per second, or the variation (CV) of the gaps between them, up and down.
    Exit code 3 if no scale was found that attains the target.
    """
    options = PlanOptions(policy, dispatch or DEFAULT_DISPATCH, seed, time_budget, max_simulations)
    check_target(target)
    check_precision(precision)
    varied, kept = to_vary(vary, "--vary"), None if placement is None else read_placement(placement)
    with progress_line() as line:
        if planner is not None:
            request = explore_request(spec, profiles, workload)
            search_by(request.plan, options)
            request.capacity.vary, request.capacity.target, request.capacity.precision = vary, target, precision
            found = capacity_with_service(request, kept, planner, lambda probe: show(line, probe))
        else:
            problem = read_problem(spec, profiles, workload)
            found = capacity_here(problem, varied, target, precision, kept, options, line)
    if output is Output.JSON:
        print_json(capacity_document(found, vary, target))
    else:
        print_capacity(found, vary, target)
    if not found.reached:
        raise typer.Exit(NOT_REACHED)


def capacity_here(
    problem: Problem,
    vary: Vary,
    target: float,
    precision: float,
    kept: Placement | None,
    options: PlanOptions,
    line: ProgressLine,
) -> Capacity:
    """Search in this process. Raises: as `plan_here`, or as the placement that is kept cannot be."""
    warm_up(options.policy, problem)
    began_s = time.monotonic()
    with all_cores() as pool:
        make = maker(options, lambda attainment, count: None, pool) if kept is None else given_plan(kept)
        bound = bound_for(options.policy) if kept is None else no_bound
        asked = Target(target, make, options.limits(began_s), bound, lambda probe: show(line, probe))
        return highest_scale(problem, vary, asked, options.seed, precision)


def show(line: ProgressLine, probe: Probe) -> None:
    line.show(f"scale {probe.value:.3f}, {probe.rate_per_s:.4g} requests/s: {probe_text(probe)}")


def check_precision(precision: float) -> None:
    """Raises: InvalidArgument."""
    if not 0 < precision <= 1:
        raise InvalidArgument(f"--precision must be above 0 and at most 1, got {precision!r}")


def capacity_document(found: Capacity, vary: str, target: float) -> dict[str, Any]:
    """The highest scale and what attains it; a placement document unless nothing does."""
    placed = {} if found.plan is None else placement_document(found.plan.placement)
    return placed | {
        "vary": vary,
        "target": target,
        "reached": found.reached,
        "scale": found.scale,
        "rate_per_s": found.rate_per_s,
        "is_open_ended": found.is_open_ended,
        "probes": [
            {
                "scale": probe.value,
                "rate_per_s": probe.rate_per_s,
                "attainment": probe.attainment,
                "upper_bound": probe.upper_bound,
            }
            for probe in found.probes
        ],
    }


def print_capacity(found: Capacity, vary: str, target: float) -> None:
    """Print what was tried, and what is sustained."""
    rows = sorted(found.probes, key=lambda probe: probe.value)
    print_table(
        f"Scales of the {vary} tried",
        ("scale", "requests/s", "attainment", "no placement exceeds"),
        [(row.value, row.rate_per_s, percent(row.attainment), percent(row.upper_bound)) for row in rows],
    )
    if found.scale is None:
        print(f"{percent(target)} was not reached at any scale")
    else:
        more = " and more" if found.is_open_ended else ""
        print(f"{percent(target)} is attained up to {vary} scale {found.scale:.4g}{more}: {found.rate_per_s:.4g}/s")
