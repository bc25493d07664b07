"""`alpaserve plan`: find a placement for models on a cluster under a workload."""

from pathlib import Path
from typing import Annotated, Any

import typer

from alpaserve_cli.output import Output, OutputOption, percent, print_json, print_table, progress_line
from alpaserve_cli.plan_service import plan_request, plan_with_service
from alpaserve_cli.search_options import (
    NOT_REACHED,
    MaxSimulationsOption,
    PlanOptions,
    PolicyOption,
    RemoteOption,
    ResamplesOption,
    SearchSeedOption,
    TimeBudgetOption,
    WindowOption,
    read_problem,
    search_by,
)
from alpaserve_cli.searching import FoundPlan, plan_here
from alpaserve_cli.simulate import PROFILES, SPEC, WORKLOAD, DispatchOption
from alpaserve_cli.target import TargetPlan, print_target, shrink_here, target_document
from alpaserve_cli.target_option import check_target
from services.core.documents import placement_document
from services.core.errors import InvalidArgument
from services.core.placement import DEFAULT_DISPATCH
from services.core.timeline_documents import windows_document
from services.planner.policies.plan import DEFAULT_POLICY

ApplyOption = Annotated[bool, typer.Option("--apply", help="Make the plan the running placement.")]
BatchesOption = Annotated[
    int,
    typer.Option(
        "--batching",
        metavar="N",
        help="Let groups serve up to N requests of one model at once, in the batch sizes that its profile has. "
        "The search is for requests one by one; what the plan attains is told with the batches.",
    ),
]
TargetOption = Annotated[
    float | None,
    typer.Option(
        "--target",
        help="Take as few devices as attain this share. Every number tried has its share of the"
        f" limits. Exit code {NOT_REACHED} if not even the whole cluster does; its plan is printed all the same.",
    ),
]


def plan(
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    workload: Annotated[Path | None, WORKLOAD] = None,
    policy: PolicyOption = DEFAULT_POLICY,
    target: TargetOption = None,
    seed: SearchSeedOption = 0,
    time_budget: TimeBudgetOption = None,
    max_simulations: MaxSimulationsOption = None,
    dispatch: DispatchOption = DEFAULT_DISPATCH,
    window: WindowOption = None,
    resamples: ResamplesOption = None,
    batching: BatchesOption = 1,
    planner: RemoteOption = None,
    apply: ApplyOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find a placement that attains as much of a workload as possible.

    The JSON output is a placement file, with the plan's figures beside the placement.
    """
    options = PlanOptions(
        policy, dispatch or DEFAULT_DISPATCH, seed, time_budget, max_simulations, window, resamples, batching
    )
    if target is not None:
        check_target(target)
    if planner is not None:
        request = search_by(plan_request(spec, profiles, workload, apply=apply), options)
        request.target = target or 0.0
        reached = plan_with_service(request, planner, output)
    elif apply:
        raise InvalidArgument("--apply needs --planner: files are not a running system")
    elif target is not None:
        reached = _print_fewest(spec, profiles, workload, target, options, output)
    else:
        reached = _print_best(spec, profiles, workload, options, output)
    if not reached:
        raise typer.Exit(NOT_REACHED)


def _print_best(
    spec: Path | None, profiles: Path | None, workload: Path | None, options: PlanOptions, output: Output
) -> bool:
    problem = read_problem(spec, profiles, workload)
    with progress_line() as line:
        line.show("compiling what this installation has not compiled yet")
        found = plan_here(
            problem, options, lambda attainment, count: line.show(f"{percent(attainment)} after {count} simulations")
        )
    if output is Output.JSON:
        print_json(plan_document(found))
    else:
        print_plan(found)
    return True


def _print_fewest(
    spec: Path | None,
    profiles: Path | None,
    workload: Path | None,
    target: float,
    options: PlanOptions,
    output: Output,
) -> bool:
    problem = read_problem(spec, profiles, workload)
    with progress_line() as line:
        found = shrink_here(problem, target, options, line)
    told = TargetPlan.of(target, found.fewest)
    if output is Output.JSON:
        print_json(plan_document(found.found, found.num_simulations) | target_document(told))
    else:
        print_plan(found.found)
        print_target(told)
    return told.reached


def plan_document(found: FoundPlan, num_simulations: int | None = None) -> dict[str, Any]:
    """A placement document with what the plan says beside it; of several searches, all simulations."""
    windows = {"windows": windows_document(found.plan.windows)} if found.plan.windows else {}
    return (
        placement_document(found.plan.placement)
        | windows
        | {
            "policy": found.plan.policy,
            "attainment": found.plan.attainment,
            "search_s": found.search_s,
            "num_simulations": found.plan.num_simulations if num_simulations is None else num_simulations,
            "upper_bound": found.plan.upper_bound,
            "held_out_attainment": found.plan.held_out_attainment,
            "unplaced": [unplaced._asdict() for unplaced in found.plan.unplaced],
        }
    )


def print_plan(found: FoundPlan) -> None:
    """Print the tables of a plan."""
    made = found.plan
    print_table(
        f"Plan by {made.policy}",
        ("predicted", "held out", "upper bound", "simulations", "search s"),
        [
            (
                percent(made.attainment),
                percent(made.held_out_attainment),
                percent(made.upper_bound),
                made.num_simulations,
                found.search_s,
            )
        ],
    )
    groups = (
        (index, group.config, " ".join(map(str, group.devices)), " ".join(group.models))
        for index, group in enumerate(made.placement.groups)
    )
    print_table("Groups", ("group", "config", "devices", "models"), groups)
    if made.unplaced:
        print_table("Unplaced", ("model", "reason"), made.unplaced)
