"""`alpaserve placement`, `apply` and `rollback`: what runs where, and changing it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.addresses import DEFAULT_PLANNER, PlannerOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.files import read_document, read_placement
from alpaserve_cli.output import Output, OutputOption, print_json
from alpaserve_cli.placements import diff_document, down_document, print_diff, print_running, running_document
from services.core.errors import InvalidArgument
from services.infra.wire import placement_message


def placement(
    version: Annotated[int, typer.Option("--version", min=0, help="An older version; 0 means the running one.")] = 0,
    watch: Annotated[bool, typer.Option("--watch", help="Print it again after every change.")] = False,
    planner: PlannerOption = DEFAULT_PLANNER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what runs where.

    With --watch and --output json every line is a document of its own.
    """
    with PlannerClient(planner, connection()) as client:
        if watch:
            for changed in client.watch_placement():
                if output is Output.JSON:
                    print(json.dumps(running_document(changed)), flush=True)
                else:
                    print_running(changed)
            return
        found = client.placement(version)
    if output is Output.JSON:
        created_at = found.created_at.ToJsonString() if found.HasField("created_at") else None
        print_json(running_document(found.placement) | {"created_at": created_at})
    else:
        print_running(found.placement)


def apply(
    file: Annotated[
        Path | None, typer.Argument(help="A placement (alpaserve.placement/v1); none with --watch: only watch.")
    ] = None,
    expected_version: Annotated[
        int, typer.Option("--expected-version", min=0, help="Fail unless this version runs; 0 means whichever does.")
    ] = 0,
    watch: Annotated[bool, typer.Option("--watch", help="Show the transition's steps as they are taken.")] = False,
    planner: PlannerOption = DEFAULT_PLANNER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a placement the running one; returns when it is.

    With --watch and --output json, or where stdout is no terminal, every event is a line of its own, and what was
    applied is the last one. --watch without a placement shows the transition that is under way, or else the next.
    """
    if file is None and not watch:
        raise InvalidArgument("name a placement to apply, or --watch the transition that is under way")
    with PlannerClient(planner, connection()) as client:
        if file is None:
            from alpaserve_cli.watching import watch_next

            watch_next(client, output)
            return
        wanted = placement_message(read_placement(file), _policy_of(file))
        if watch:
            from alpaserve_cli.watching import apply_watched

            response = apply_watched(client, wanted, expected_version, output)
        else:
            response = client.apply(wanted, expected_version=expected_version)
    document = applied_document(response.applied) | {"diff": diff_document(response.diff)}
    if output is Output.JSON and watch:
        print(json.dumps({"event": "applied"} | document, allow_nan=False))
    elif output is Output.JSON:
        print_json(document)
    else:
        print_applied(response.applied)
        print_diff(response.diff)


def rollback(
    version: Annotated[int, typer.Option("--version", min=0, help="The version; 0 means the one before.")] = 0,
    planner: PlannerOption = DEFAULT_PLANNER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an older version's placement the running one, as a new version."""
    with PlannerClient(planner, connection()) as client:
        applied = client.rollback(version)
    if output is Output.JSON:
        print_json(applied_document(applied))
    else:
        print_applied(applied)


def _policy_of(file: Path) -> str:
    """What made the placement, where the file says so, as a plan's does."""
    document = read_document(file)
    policy = document.get("policy", "") if isinstance(document, dict) else ""
    return policy if isinstance(policy, str) else ""


def applied_document(applied: planner_pb2.PlacementApplied) -> dict[str, Any]:
    return running_document(applied.placement) | {
        "transition_s": applied.transition_s,
        "predicted_s": applied.predicted_s,
        "down": list(map(down_document, applied.down)),
    }


def print_applied(applied: planner_pb2.PlacementApplied) -> None:
    """Print the placement that runs now and how long the transition took."""
    print_running(applied.placement)
    print(f"applied in {applied.transition_s:.2f} s, predicted {applied.predicted_s:.2f} s")
    for down in applied.down:
        print(f"{down.model} was down for {down.end_s - down.begin_s:.2f} s")
