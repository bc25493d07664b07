"""What the planner tells of its plans and transitions, as messages."""

from alpaserve.v1 import placement_pb2, planner_pb2

from services.core.deployment import DeployedGroup
from services.core.placement import Group
from services.infra.wire import config_message, deployment_message
from services.planner.stewardship import Applied, Change


def group_message(group: Group | DeployedGroup) -> placement_pb2.Group:
    models = group.models if isinstance(group, Group) else tuple(group.replicas)
    message = placement_pb2.Group(config=config_message(group.config), devices=group.devices, models=models)
    if isinstance(group, DeployedGroup):
        message.name, message.address, message.worker = group.name, group.address, group.worker
    return message


def diff_message(change: Change) -> planner_pb2.PlacementDiff:
    transition, groups = change.transition, change.target.groups
    return planner_pb2.PlacementDiff(
        kept=[group_message(group) for group in transition.kept.values()],
        formed=[group_message(groups[index]) for index in transition.formed],
        dissolved=[group_message(group) for group in transition.dissolved],
        num_loads=len(transition.loads),
        load_bytes=change.load_bytes,
        num_unloads=len(transition.unloads),
        interrupted=transition.interrupted,
    )


def applied_message(applied: Applied) -> planner_pb2.PlacementApplied:
    return planner_pb2.PlacementApplied(
        placement=deployment_message(applied.deployment), transition_s=applied.transition_s
    )
