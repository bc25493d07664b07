"""Gives a new placement the devices that make the least of it new: alike devices are interchangeable."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.core.deployment import DeployedGroup
from services.core.placement import Group, Placement

Nodes = Sequence[Sequence[int]]


def aligned(target: Placement, running: Iterable[DeployedGroup], nodes: Nodes) -> Placement:
    """The same groups on devices of running groups of their config, those with the most models in
    common first; the rest shares what is left of the nodes. Unchanged where that does not work out."""
    matched = match_groups(target.groups, list(running))
    taken = {device for devices in matched.values() for device in devices}
    free = [[device for device in node if device not in taken] for node in nodes]
    rest = [index for index in range(len(target.groups)) if index not in matched]
    for index in sorted(rest, key=lambda index: -len(target.groups[index].devices)):
        size = len(target.groups[index].devices)
        node = next((node for node in free if len(node) >= size), None)
        if node is None:
            return target
        matched[index] = tuple(node[:size])
        del node[:size]
    groups = tuple(replace(group, devices=matched[index]) for index, group in enumerate(target.groups))
    return replace(target, groups=groups)


def match_groups(groups: Sequence[Group], running: Sequence[DeployedGroup]) -> dict[int, tuple[int, ...]]:
    """Devices by group index, for the groups that take over a running one."""
    pairs = [
        (-len(set(group.models) & set(known.replicas)), index, place)
        for index, group in enumerate(groups)
        for place, known in enumerate(running)
        if group.config == known.config
    ]
    matched: dict[int, tuple[int, ...]] = {}
    used: set[int] = set()
    for _, index, place in sorted(pairs):
        devices = running[place].devices
        if index not in matched and used.isdisjoint(devices):
            matched[index] = devices
            used.update(devices)
    return matched
