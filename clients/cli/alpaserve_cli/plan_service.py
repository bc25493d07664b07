"""`alpaserve plan --planner`: the search runs in the planner, on files or on the running system."""

from pathlib import Path
from typing import Any

from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.connecting import connection
from alpaserve_cli.failures import CommandError
from alpaserve_cli.output import Output, percent, print_json, print_table, progress_line
from alpaserve_cli.placement import print_applied
from alpaserve_cli.placements import diff_document, group_document, print_diff, print_running, running_document
from alpaserve_cli.request_files import describe_files
from alpaserve_cli.target import TargetPlan, print_target, target_document
from services.core.errors import InvalidArgument
from services.planner.policies.questions import Probe


def plan_request(
    spec: Path | None, profiles: Path | None, workload: Path | None, *, apply: bool
) -> planner_pb2.PlanRequest:
    """What to plan for: the files' content; without a spec the registered models and running
    workers, without a workload the live arrivals.

    Raises: InvalidArgument for files that do not go together.
    """
    request = planner_pb2.PlanRequest(validate_only=not apply)
    if apply and (spec or profiles):
        raise InvalidArgument("--apply plans for the running system: leave --spec and --profiles out")
    describe_files(request, spec, profiles, workload)
    return request


def plan_with_service(request: planner_pb2.PlanRequest, planner: str, output: Output) -> bool:
    """Have it planned, and applied unless validate_only; print the plan. Whether it attains the target."""
    found, applied = _search(request, planner)
    told = to_target(found.target) if found.HasField("target") else None
    if output is Output.JSON:
        print_json(plan_document(found, applied) | ({} if told is None else target_document(told)))
    else:
        print_found(found, applied, request)
        if told is not None:
            print_target(told)
    return told is None or told.reached


def print_found(
    found: planner_pb2.PlanFound, applied: planner_pb2.PlacementApplied | None, request: planner_pb2.PlanRequest
) -> None:
    """Print a plan, what it changes, and whether it was applied."""
    print_running(found.placement)
    for missing in found.unplaced:
        print(f"unplaced: {missing.model}: {missing.reason}")
    attainments = sorted(found.model_attainment.items())
    print_table("Predicted", ("model", "attainment"), [(model, percent(share)) for model, share in attainments])
    print(f"attainment {percent(found.attainment)} after {found.num_simulations} simulations, {found.search_s:.2f} s")
    if not request.HasField("cluster"):
        print_diff(found.diff)
    if applied is None:
        print(f"not applied; version {found.base_version} runs")
    else:
        print_applied(applied)


def _search(
    request: planner_pb2.PlanRequest, planner: str
) -> tuple[planner_pb2.PlanFound, planner_pb2.PlacementApplied | None]:
    found, applied = None, None
    with PlannerClient(planner, connection()) as client, progress_line() as line:
        for response in client.plan(request):
            event = response.WhichOneof("event")
            if event == "progress":
                done = response.progress
                line.show(progress_text(done))
            elif event == "plan":
                found = response.plan
                line.show("" if request.validate_only else "applying …")
            elif event == "applied":
                applied = response.applied
    if found is None:
        raise CommandError(f"the planner at {planner} ended without a plan")
    return found, applied


def progress_text(done: planner_pb2.SearchProgress) -> str:
    bound = f" of at most {percent(done.upper_bound)}" if done.HasField("upper_bound") else ""
    speed = f"{done.num_simulations} simulations, {done.simulations_per_s:.0f}/s"
    return f"{done.search_s:.1f} s, {speed}, {percent(done.attainment)}{bound}"


def to_target(message: planner_pb2.TargetFound) -> TargetPlan:
    probes = tuple(map(to_probe, message.probes))
    return TargetPlan(message.target, message.num_devices, message.reached, probes)


def to_probe(message: planner_pb2.Probe) -> Probe:
    return Probe(
        value=message.value,
        rate_per_s=message.rate_per_s,
        attainment=message.attainment if message.HasField("attainment") else None,
        upper_bound=message.upper_bound if message.HasField("upper_bound") else None,
        num_simulations=message.num_simulations,
    )


def plan_document(found: planner_pb2.PlanFound, applied: planner_pb2.PlacementApplied | None) -> dict[str, Any]:
    """What `plan` prints without a service, and what only a running system knows. An applied plan
    is told as it runs, its version and names included."""
    placement = found.placement if applied is None else applied.placement
    windows = [
        {"begin_s": window.begin_s, "groups": [group_document(group) for group in window.groups]}
        for window in found.windows
    ]
    return (
        running_document(placement)
        | ({"windows": windows} if windows else {})
        | {
            "attainment": found.attainment,
            "search_s": found.search_s,
            "num_simulations": found.num_simulations,
            "upper_bound": found.upper_bound if found.HasField("upper_bound") else None,
            "held_out_attainment": found.held_out_attainment if found.HasField("held_out_attainment") else None,
            "unplaced": [{"model": missing.model, "reason": missing.reason} for missing in found.unplaced],
            "model_attainment": dict(sorted(found.model_attainment.items())),
            "diff": diff_document(found.diff),
            "base_version": found.base_version,
            "transition_s": None if applied is None else applied.transition_s,
        }
    )
