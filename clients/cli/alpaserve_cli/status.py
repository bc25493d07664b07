"""`alpaserve status`: workers, groups with their queues, arrival rates."""

from typing import Any

from alpaserve.v1 import planner_pb2
from alpaserve_client import PlannerClient

from alpaserve_cli.addresses import DEFAULT_PLANNER, PlannerOption
from alpaserve_cli.connecting import connection
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.placements import group_document, ranges


def status(planner: PlannerOption = DEFAULT_PLANNER, output: OutputOption = Output.TABLE) -> None:
    """Show the running system."""
    with PlannerClient(planner, connection()) as client:
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
            }
            for group in found.groups
        ],
        "rate_per_s": dict(sorted(found.rate_per_s.items())),
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
        ("group", "config", "devices", "in flight", "free in s", "models"),
        (
            (
                group.group.name,
                f"{group.group.config.inter_op}x{group.group.config.intra_op}",
                ranges(group.group.devices),
                group.num_in_flight if group.is_alive else "silent",
                group.free_in_s if group.is_alive else None,
                " ".join(group.group.models),
            )
            for group in found.groups
        ),
    )
    rates = sorted(found.rate_per_s.items())
    print_table("Arrivals over the last minute", ("model", "requests /s"), rates)
