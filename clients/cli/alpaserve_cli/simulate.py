"""`alpaserve simulate`: what a placement would attain on a workload."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.files import read_profiles, read_spec, read_workload
from alpaserve_cli.output import Output, OutputOption, percent, print_json, print_table
from alpaserve_cli.simulate_here import simulate_file
from alpaserve_cli.simulate_options import SimulateOptions
from alpaserve_cli.simulate_service import simulate_request, simulate_with_service
from services.core.attainment import Report
from services.core.batched_simulator import BATCHING_RULES, DEFAULT_MAX_BATCH_SIZE
from services.core.errors import InvalidArgument
from services.core.problem import pose
from services.core.schedule import DISPATCH_RULES

SPEC = typer.Option("--spec", help="Cluster and models (alpaserve.spec/v1).")
PROFILES = typer.Option("--profiles", help="Model profiles (alpaserve.profiles/v1).")
WORKLOAD = typer.Option("--workload", help="CSV arrival_s,model[,slo_s], .gz or not.")
WorkloadOption = Annotated[Path, WORKLOAD]
DispatchOption = Annotated[
    str | None, typer.Option("--dispatch", help=f"How requests choose a group: {', '.join(DISPATCH_RULES)}.")
]
BatchingOption = Annotated[
    int | None,
    typer.Option(
        "--batching",
        metavar="N",
        help="Serve requests of one model together, up to N, in the batch sizes that its profile has. "
        f"By default {DEFAULT_MAX_BATCH_SIZE} if --batching-rule is given, else what the placement allows.",
    ),
]
BatchingRuleOption = Annotated[
    str | None,
    typer.Option(
        "--batching-rule",
        help=f"{' or '.join(BATCHING_RULES)}. ours: requests queue at a group, which batches while every "
        "member keeps its SLO. published: as AlpaServe's simulator, one queue per model, only the first "
        "member's SLO is checked, dispatch is earliest-free.",
    ),
]
LoadOption = Annotated[
    float | None,
    typer.Option(
        "--load-bytes-per-s",
        help="How fast a device loads weights, where the placement has windows that replace each other. "
        "By default at once.",
    ),
]
PlannerOption = Annotated[
    str | None,
    typer.Option("--planner", help="Ask this planner; what no file gives it takes from the running system."),
]


def simulate(
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    placement: Annotated[
        Path | None,
        typer.Option("--placement", help="Groups and replicas (alpaserve.placement/v1), or windows of such."),
    ] = None,
    workload: Annotated[Path | None, WORKLOAD] = None,
    dispatch: DispatchOption = None,
    batching: BatchingOption = None,
    batching_rule: BatchingRuleOption = None,
    load_bytes_per_s: LoadOption = None,
    planner: PlannerOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Simulate a placement on a workload, request by request.

    Without --dispatch and --batching what the placement records is used.
    """
    options = SimulateOptions.of(dispatch, batching, batching_rule, load_bytes_per_s)
    if planner is not None:
        request = simulate_request(spec, profiles, workload)
        simulated = simulate_with_service(request, placement, options, planner)
    elif spec is None or profiles is None or placement is None or workload is None:
        raise InvalidArgument("give --spec, --profiles, --placement and --workload, or --planner")
    else:
        problem = pose(read_spec(spec), read_profiles(profiles), read_workload(workload))
        simulated = simulate_file(problem, placement, options)
    if output is Output.JSON:
        print_json(asdict(simulated))
    else:
        print_report(simulated)


def print_report(simulated: Report) -> None:
    """Print the tables of a report."""
    latency_s = simulated.latency_s
    print_table(
        "All requests",
        ("attainment", "requests", "goodput /s", "mean s", "p50 s", "p99 s"),
        [
            (
                percent(simulated.attainment),
                simulated.num_requests,
                simulated.goodput_per_s,
                latency_s.mean,
                latency_s.p50,
                latency_s.p99,
            )
        ],
    )
    rows = ((name, percent(row.attainment), row.num_requests) for name, row in simulated.models.items())
    print_table("Models", ("model", "attainment", "requests"), rows)
    print_table(
        "Groups",
        ("group", "requests", "attained", "busy share of stages"),
        (
            (index, row.num_requests, row.num_attained, " ".join(f"{part:.2f}" for part in row.stage_busy_share))
            for index, row in enumerate(simulated.groups)
        ),
    )
