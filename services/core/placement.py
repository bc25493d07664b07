"""A placement: the device groups, their parallel configs, and the models each of them holds."""

from collections import Counter
from dataclasses import dataclass

from services.core.errors import DoesNotFit, InvalidPlacement
from services.core.profile import ParallelConfig, Profiles
from services.core.schedule import DISPATCH_RULES
from services.core.spec import Cluster, ModelSpec, Spec

DEFAULT_DISPATCH = DISPATCH_RULES[0]


@dataclass(frozen=True, slots=True)
class Group:
    """Devices that share one parallel config and one queue; stage k uses
    devices[k·intra_op : (k+1)·intra_op]. A group without models is allowed."""

    config: ParallelConfig
    devices: tuple[int, ...]
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.devices) != self.config.num_devices:
            raise InvalidPlacement(f"a {self.config} group needs {self.config.num_devices} devices, got {self.devices}")
        for model, count in Counter(self.models).items():
            if count > 1:
                raise InvalidPlacement(f"a group holds model {model!r} twice")


@dataclass(frozen=True, slots=True)
class Placement:
    """All groups and their replicas. Group order decides ties of dispatch; a group serves up to
    `max_batch_size` requests of a model at once."""

    groups: tuple[Group, ...]
    dispatch: str = DEFAULT_DISPATCH
    max_batch_size: int = 1

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise InvalidPlacement(f"max_batch_size must be at least 1, got {self.max_batch_size}")
        if self.dispatch not in DISPATCH_RULES:
            raise InvalidPlacement(f"unknown dispatch {self.dispatch!r}; there are: {', '.join(DISPATCH_RULES)}")
        for device, count in Counter(d for group in self.groups for d in group.devices).items():
            if count > 1:
                raise InvalidPlacement(f"device {device} is in {count} groups")

    @property
    def dispatch_rule(self) -> int:
        return DISPATCH_RULES.index(self.dispatch)

    def hosts(self, model: str) -> tuple[int, ...]:
        """Indices of the groups that hold the model, lowest first."""
        return tuple(g for g, group in enumerate(self.groups) if model in group.models)


def group_weight_bytes(group: Group, spec: Spec, profiles: Profiles) -> int:
    """What each device of the group must hold: the sum of its models' heaviest stages."""
    return sum(profiles[spec.model(model).profile].at(group.config).heaviest_stage_bytes for model in group.models)


def check_placement(placement: Placement, spec: Spec, profiles: Profiles) -> None:
    """Hold a placement against its cluster and profiles.

    Raises: InvalidPlacement for devices or models that do not exist and for a model off its nodes,
    UnknownProfile for a config that was never profiled, DoesNotFit with the figures.
    """
    names = set(spec.names)
    for index, group in enumerate(placement.groups):
        check_devices(index, group, spec.cluster)
        for model in group.models:
            if model not in names:
                raise InvalidPlacement(f"group {index} holds model {model!r}, which the spec lacks")
            check_nodes(index, group, spec.model(model), spec.cluster)
        weight_bytes = group_weight_bytes(group, spec, profiles)
        if weight_bytes > spec.cluster.memory_bytes:
            raise DoesNotFit(
                f"group {index} ({group.config}) holds {weight_bytes} bytes a device "
                f"({', '.join(group.models)}), more than memory_bytes {spec.cluster.memory_bytes}"
            )


def check_devices(index: int, group: Group, cluster: Cluster) -> None:
    for device in group.devices:
        if not 0 <= device < cluster.num_devices:
            raise InvalidPlacement(f"group {index} uses device {device} of {cluster.num_devices}")


def check_nodes(index: int, group: Group, model: ModelSpec, cluster: Cluster) -> None:
    """Raises: InvalidPlacement if a device of the group is on a node that the model must not use."""
    for device in group.devices:
        node = cluster.node_of(device)
        if not model.allows(node):
            raise InvalidPlacement(
                f"group {index} holds model {model.name!r} on device {device} of node {node}; "
                f"its nodes are {', '.join(map(str, model.nodes or ()))}"
            )
