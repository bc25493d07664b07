"""A placement as a picture: nodes, their groups with a column a stage, and a bar for every model that a group holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.core.placement import Group, Placement, group_weight_bytes
from services.core.profile import Profiles
from services.core.spec import Cluster, Spec
from services.pages.figures import num_bytes, shortened
from services.pages.palette import Paint, paints

_CELL, _NARROWEST, _GAP = 40.0, 184.0, 6.0
_HEAD, _CHIP, _BAR, _LETTER = 14.0, 20.0, 22.0, 6.6
# Narrower ones are only numbered.
_STAGE = 50.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with its text, in pixels, and what is said of it where there is more room."""

    x: float
    y: float
    width: float
    height: float
    text: str
    title: str
    model: str = ""
    paint: Paint | None = None


@dataclass(frozen=True, slots=True)
class GroupPicture:
    """A drawn group. `memory` is what its models take on each device; None where no profile tells."""

    name: str
    config: str
    devices: str
    models: tuple[str, ...]
    width: float
    height: float
    stages: tuple[Box, ...]
    chips: tuple[Box, ...]
    bars: tuple[Box, ...]
    memory: str | None
    memory_share: float | None


@dataclass(frozen=True, slots=True)
class NodePicture:
    """Groups that lie on the same nodes, and the devices of these that no group uses."""

    title: str
    groups: tuple[GroupPicture, ...]
    unused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlacementPicture:
    """All of it, with the legend; `unplaced` are the spec's models that no group holds."""

    nodes: tuple[NodePicture, ...]
    legend: Mapping[str, Paint]
    unplaced: tuple[str, ...]
    num_replicas: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Labels:
    """What a running system knows beside a placement: the names of groups, and whose devices a node's are."""

    groups: Sequence[str] = ()
    nodes: Mapping[int, str] = field(default_factory=dict)


def placement_picture(
    placement: Placement, spec: Spec, profiles: Profiles | None = None, labels: Labels | None = None
) -> PlacementPicture:
    """Lay out a placement of the spec's models on its cluster."""
    own = labels or Labels()
    legend = paints(spec.names)
    names = list(own.groups) or [str(index) for index in range(len(placement.groups))]
    drawn: dict[tuple[int, ...], list[GroupPicture]] = {(node,): [] for node in range(spec.cluster.num_nodes)}
    for name, group in zip(names, placement.groups, strict=True):
        nodes = tuple(sorted({spec.cluster.node_of(device) for device in group.devices}))
        share, memory = _memory(group, spec, profiles)
        drawn.setdefault(nodes, []).append(_drawn(name, group, legend, share, memory))
    used = {device for group in placement.groups for device in group.devices}
    num_replicas = {model: len(placement.hosts(model)) for model in spec.names}
    return PlacementPicture(
        nodes=tuple(
            NodePicture(_title(nodes, own), tuple(groups), _unused(nodes, spec.cluster, used))
            for nodes, groups in sorted(drawn.items())
        ),
        legend=legend,
        unplaced=tuple(model for model, count in num_replicas.items() if not count),
        num_replicas=num_replicas,
    )


def _title(nodes: tuple[int, ...], labels: Labels) -> str:
    if len(nodes) > 1:
        return f"Nodes {', '.join(map(str, nodes))}"
    name = labels.nodes.get(nodes[0], "")
    return f"Node {nodes[0]} · {name}" if name else f"Node {nodes[0]}"


def _unused(nodes: tuple[int, ...], cluster: Cluster, used: set[int]) -> tuple[int, ...]:
    if len(nodes) > 1:
        return ()
    first = nodes[0] * cluster.devices_per_node
    own = range(first, min(first + cluster.devices_per_node, cluster.num_devices))
    return tuple(device for device in own if device not in used)


def _memory(group: Group, spec: Spec, profiles: Profiles | None) -> tuple[float | None, str | None]:
    if profiles is None:
        return None, None
    weight_bytes, most = group_weight_bytes(group, spec, profiles), spec.cluster.memory_bytes
    return weight_bytes / most, f"{num_bytes(weight_bytes)} of {num_bytes(most)} a device"


def _drawn(
    name: str, group: Group, legend: Mapping[str, Paint], share: float | None, memory: str | None
) -> GroupPicture:
    config = group.config
    cell = max(_CELL, (_NARROWEST - _GAP * (config.inter_op - 1)) / config.num_devices)
    stage_width = cell * config.intra_op
    width = stage_width * config.inter_op + _GAP * (config.inter_op - 1)
    lefts = [k * (stage_width + _GAP) for k in range(config.inter_op)]
    stages = tuple(
        Box(left, 0, stage_width, _HEAD, f"stage {k}" if stage_width > _STAGE else str(k), f"stage {k}")
        for k, left in enumerate(lefts)
    )
    chips = tuple(
        Box(
            lefts[n // config.intra_op] + n % config.intra_op * cell,
            _HEAD,
            cell,
            _CHIP,
            str(device),
            f"device {device}",
        )
        for n, device in enumerate(group.devices)
    )
    top = _HEAD + _CHIP + _GAP
    bars = tuple(
        Box(
            0,
            top + n * _BAR,
            width,
            _BAR - 3,
            shortened(model, int((width - 8) / _LETTER)),
            f"{model}: a replica on group {name}, {config}",
            model,
            legend.get(model),
        )
        for n, model in enumerate(group.models)
    )
    height = top + max(len(bars), 1) * _BAR
    devices = ", ".join(map(str, group.devices))
    return GroupPicture(name, str(config), devices, group.models, width, height, stages, chips, bars, memory, share)
