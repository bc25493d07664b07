"""What the planner tells of its plans and transitions, as messages."""

from alpaserve.v1 import planner_pb2

from services.infra.wire import deployed_group_message, deployment_message, group_message
from services.planner.stewardship import Applied, Change


def diff_message(change: Change) -> planner_pb2.PlacementDiff:
    transition, groups = change.transition, change.target.groups
    return planner_pb2.PlacementDiff(
        kept=[deployed_group_message(group) for group in transition.kept.values()],
        formed=[group_message(groups[index]) for index in transition.formed],
        dissolved=[deployed_group_message(group) for group in transition.dissolved],
        num_loads=len(transition.loads),
        load_bytes=change.load_bytes,
        num_unloads=len(transition.unloads),
        interrupted=transition.interrupted,
    )


def applied_message(applied: Applied) -> planner_pb2.PlacementApplied:
    return planner_pb2.PlacementApplied(
        placement=deployment_message(applied.deployment), transition_s=applied.transition_s
    )
