"""`alpaserve status`: routers, workers, groups with their queues, and what models attain."""

from typing import Annotated, Any

import typer
from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.addresses import DEFAULT_PLANNER, PlannerOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.output import Output, OutputOption, percent, print_json, print_table
from alpaserve_cli.placements import group_document, ranges


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until q or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="With --watch: seconds between two looks.")] = 1.0,
    planner: PlannerOption = DEFAULT_PLANNER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the running system. With --watch, live in a terminal, else as a JSON document a line."""
    with PlannerClient(planner, connection()) as client:
        if watch:
            from alpaserve_cli.status_watching import watch_status

            watch_status(client, every, output)
            return
        found = client.status()
    if output is Output.JSON:
        print_json(status_document(found))
    else:
        print_status(found)


def status_document(found: planner_pb2.GetStatusResponse) -> dict[str, Any]:
    return {
        "placement_version": found.placement_version,
        "workers": [
            {
                "name": worker.name,
                "address": worker.address,
                "executor": worker.executor,
                "first_device": worker.first_device,
                "num_devices": worker.num_devices,
                "memory_bytes": worker.memory_bytes,
            }
            for worker in found.workers
        ],
        "groups": [
            group_document(group.group)
            | {
                "is_alive": group.is_alive,
                "num_in_flight": group.num_in_flight if group.is_alive else None,
                "free_in_s": group.free_in_s if group.is_alive else None,
                "stage_busy_share": list(group.stage_busy_share) or None,
            }
            for group in found.groups
        ],
        "rate_per_s": dict(sorted(found.rate_per_s.items())),
        "models": [
            {
                "name": model.name,
                "num_arrivals": model.num_arrivals,
                "rate_per_s": model.rate_per_s,
                "num_met": model.num_met,
                "num_missed": model.num_missed,
                "attainment": attainment_of(model),
            }
            for model in found.models
        ],
        "routers": [{"name": router.name, "placement_version": router.placement_version} for router in found.routers],
    }


def print_status(found: planner_pb2.GetStatusResponse) -> None:
    """Print the tables of the running system."""
    print_table(
        "Workers",
        ("worker", "executor", "devices", "bytes a device", "address"),
        (
            (
                worker.name,
                worker.executor,
                ranges(range(worker.first_device, worker.first_device + worker.num_devices)),
                worker.memory_bytes,
                worker.address,
            )
            for worker in found.workers
        ),
    )
    print_table(
        f"Groups of placement {found.placement_version}",
        ("group", "config", "devices", "in flight", "free in s", "busy", "models"),
        (
            (
                group.group.name,
                f"{group.group.config.inter_op}x{group.group.config.intra_op}",
                ranges(group.group.devices),
                group.num_in_flight if group.is_alive else "silent",
                group.free_in_s if group.is_alive else None,
                percent(max(group.stage_busy_share, default=None)),
                " ".join(group.group.models),
            )
            for group in found.groups
        ),
    )
    print_table(
        "Models over the last minute",
        ("model", "requests /s", "met", "missed", "attainment"),
        (
            (model.name, model.rate_per_s, model.num_met, model.num_missed, percent(attainment_of(model)))
            for model in found.models
        ),
    )


def attainment_of(model: planner_pb2.ModelStatus) -> float | None:
    """None if nothing ended."""
    return model.attainment if model.HasField("attainment") else None
