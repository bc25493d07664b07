"""Placements of the running system as documents and tables."""

from collections.abc import Iterable
from typing import Any

from alpaserve.v1 import placement_pb2, planner_pb2

from alpaserve_cli.output import print_table
from services.core.placement import DEFAULT_DISPATCH


def running_document(placement: placement_pb2.Placement) -> dict[str, Any]:
    """A document of schema alpaserve.placement/v1 that also says what the running system adds."""
    return {
        "schema": "alpaserve.placement/v1",
        "dispatch": placement.dispatch or DEFAULT_DISPATCH,
        **({"max_batch_size": placement.max_batch_size} if placement.max_batch_size > 1 else {}),
        "groups": [group_document(group) for group in placement.groups],
        "version": placement.version,
        "policy": placement.policy,
    }


def group_document(group: placement_pb2.Group) -> dict[str, Any]:
    return {
        "inter_op": group.config.inter_op,
        "intra_op": group.config.intra_op,
        "devices": list(group.devices),
        "models": list(group.models),
        "name": group.name,
        "worker": group.worker,
        "address": group.address,
    }


def diff_document(diff: planner_pb2.PlacementDiff) -> dict[str, Any]:
    return {
        "kept": [group_document(group) for group in diff.kept],
        "formed": [group_document(group) for group in diff.formed],
        "dissolved": [group_document(group) for group in diff.dissolved],
        "num_loads": diff.num_loads,
        "load_bytes": diff.load_bytes,
        "num_unloads": diff.num_unloads,
        "interrupted": list(diff.interrupted),
        "predicted_s": diff.predicted_s,
        "down": list(map(down_document, diff.down)),
    }


def down_document(down: planner_pb2.Downtime) -> dict[str, Any]:
    return {"model": down.model, "begin_s": down.begin_s, "end_s": down.end_s if down.HasField("end_s") else None}


def print_running(placement: placement_pb2.Placement) -> None:
    """Print the table of a placement's groups."""
    title = f"Placement {placement.version or '(not applied)'}, {placement.dispatch or DEFAULT_DISPATCH}"
    if placement.max_batch_size > 1:
        title += f", batches of up to {placement.max_batch_size}"
    rows = (
        (
            group.name or str(index),
            f"{group.config.inter_op}x{group.config.intra_op}",
            ranges(group.devices),
            group.worker,
            " ".join(group.models),
        )
        for index, group in enumerate(placement.groups)
    )
    print_table(title, ("group", "config", "devices", "worker", "models"), rows)


def print_diff(diff: planner_pb2.PlacementDiff) -> None:
    """Print what a transition changes, in one or two lines."""
    print(
        f"{len(diff.kept)} groups kept, {len(diff.formed)} formed, {len(diff.dissolved)} dissolved; "
        f"{diff.num_loads} replicas loaded ({diff.load_bytes} bytes), {diff.num_unloads} unloaded"
    )
    print(f"predicted to take {diff.predicted_s:.2f} s")
    for down in diff.down:
        print(f"{down.model} is down from {down.begin_s:.2f} s to {down.end_s:.2f} s of that")


def ranges(numbers: Iterable[int]) -> str:
    """`0-3 6` for 0, 1, 2, 3, 6; the order given is kept."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
