"""`alpaserve diff`: what going from one placement to another changes."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from alpaserve_cli.files import read_placement, read_profiles, read_spec
from alpaserve_cli.output import Output, OutputOption, print_json, print_table
from alpaserve_cli.placements import ranges
from alpaserve_cli.simulate import PROFILES, SPEC
from services.core.deployment import Deployment
from services.core.difference import Difference, ReplicaChange, difference, load_bytes
from services.core.errors import InvalidArgument
from services.core.phasing import plan_transition
from services.core.placement import Group, Placement, check_placement
from services.core.profile import ParallelConfig
from services.core.steps import Schedule, StepCosts, schedule, step_times


def diff(
    before: Annotated[Path, typer.Argument(help="A placement (alpaserve.placement/v1).")],
    after: Annotated[Path, typer.Argument(help="Another placement.")],
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    load_bytes_per_s: Annotated[
        float | None,
        typer.Option("--load-bytes-per-s", help="Tell what the transition takes, and which models are down meanwhile."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Compare two placements: groups, replicas, and with --spec and --profiles the bytes to load."""
    if (spec is None) != (profiles is None):
        raise InvalidArgument("--spec and --profiles go together")
    if load_bytes_per_s is not None and spec is None:
        raise InvalidArgument("--load-bytes-per-s needs --spec and --profiles")
    old, new = read_placement(before), read_placement(after)
    changed = difference(old, new)
    num_bytes = None if spec is None or profiles is None else bytes_to_load(changed, new, spec, profiles)
    taken = None
    if spec is not None and profiles is not None and load_bytes_per_s is not None:
        taken = offline_schedule(old, new, spec, profiles, StepCosts(load_bytes_per_s))
    if output is Output.JSON:
        print_json(difference_document(changed, old, new, num_bytes) | schedule_document(taken))
    else:
        print_difference(changed, num_bytes)
        if taken is not None:
            print_schedule(taken)


def bytes_to_load(changed: Difference, new: Placement, spec: Path, profiles: Path) -> int:
    """Raises: as the placement that is gone to cannot be."""
    known, costs = read_spec(spec), read_profiles(profiles)
    check_placement(new, known, costs)
    profile_of = {model.name: model.profile for model in known.models}
    return sum(
        load_bytes(costs[profile_of[model]], new.groups[index].config)
        for model, change in changed.replicas.items()
        for index in change.added
    )


def offline_schedule(old: Placement, new: Placement, spec: Path, profiles: Path, costs: StepCosts) -> Schedule:
    """The steps from one placement to the other on idle groups, as the planner would take them.

    Raises: as a placement that cannot be.
    """
    known, measured = read_spec(spec), read_profiles(profiles)
    check_placement(old, known, measured)

    def heaviest(model: str, config: ParallelConfig) -> int:
        return measured[known.model(model).profile].at(config).heaviest_stage_bytes

    times = step_times(lambda group: costs, heaviest, lambda group, model, switched_s: switched_s, costs.switch_s)
    return schedule(plan_transition(Deployment.of(old), new, heaviest, known.cluster.memory_bytes), times)


def schedule_document(taken: Schedule | None) -> dict[str, Any]:
    if taken is None:
        return {}
    return {"transition_s": taken.end_s, "down": [asdict(down) for down in taken.down]}


def print_schedule(taken: Schedule) -> None:
    """Print what a transition takes, and when which models are down."""
    print(f"the transition takes {taken.end_s:.2f} s")
    for down in taken.down:
        print(f"{down.model} is down from {down.begin_s:.2f} s to {down.end_s:.2f} s of that")


def difference_document(changed: Difference, old: Placement, new: Placement, num_bytes: int | None) -> dict[str, Any]:
    document = {
        "kept": [group_document(group) for group in changed.kept],
        "formed": [group_document(group) for group in changed.formed],
        "dissolved": [group_document(group) for group in changed.dissolved],
        "models": {
            model: {"added": list(change.added), "removed": list(change.removed)}
            for model, change in changed.replicas.items()
        },
        "num_loads": changed.num_loads,
        "num_unloads": changed.num_unloads,
        "load_bytes": num_bytes,
    }
    return document | {
        "dispatch": {"before": old.dispatch, "after": new.dispatch},
        "max_batch_size": {"before": old.max_batch_size, "after": new.max_batch_size},
    }


def group_document(group: Group) -> dict[str, Any]:
    return {
        "inter_op": group.config.inter_op,
        "intra_op": group.config.intra_op,
        "devices": list(group.devices),
        "models": list(group.models),
    }


def print_difference(changed: Difference, num_bytes: int | None) -> None:
    """Print the tables of a comparison."""
    parts = (("kept", changed.kept), ("formed", changed.formed), ("dissolved", changed.dissolved))
    print_table(
        "Groups",
        ("change", "config", "devices", "models"),
        [
            (change, group.config, ranges(group.devices), " ".join(group.models))
            for change, groups in parts
            for group in groups
        ],
    )
    if changed.replicas:
        print_table(
            "Replicas, by the groups of the second and the first placement",
            ("model", "added on", "removed from"),
            [(model, groups_text(change.added), groups_text(change.removed)) for model, change in _sorted(changed)],
        )
    loaded = "" if num_bytes is None else f" ({num_bytes} bytes)"
    print(f"{changed.num_loads} replicas to load{loaded}, {changed.num_unloads} to unload")


def _sorted(changed: Difference) -> list[tuple[str, ReplicaChange]]:
    return sorted(changed.replicas.items())


def groups_text(groups: tuple[int, ...]) -> str:
    return ranges(groups) or "–"
