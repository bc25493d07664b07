"""How devices form groups: uniform partitions of a cluster, and device ids.

Groups lie within a node or on whole nodes (AlpaServe, section 4.2, algorithm 2).
"""

from collections.abc import Callable
from dataclasses import dataclass

from services.core.factoring import INTRA_OPS, MAX_INTER_OP
from services.core.profile import ParallelConfig
from services.core.spec import Cluster

# Whether a group of such a config could hold any model.
IsUseful = Callable[[ParallelConfig], bool]


@dataclass(frozen=True, slots=True)
class Partition:
    """Groups with their devices, side by side."""

    configs: tuple[ParallelConfig, ...]
    devices: tuple[tuple[int, ...], ...]


def node_sizes(cluster: Cluster) -> list[int]:
    """Devices per node; the last node may have fewer."""
    full, rest = divmod(cluster.num_devices, cluster.devices_per_node)
    return [cluster.devices_per_node] * full + ([rest] if rest else [])


def uniform_configs(config: ParallelConfig, pieces: list[int], is_useful: IsUseful) -> list[ParallelConfig]:
    """As many groups of `config` as the pieces hold; what is left forms power-of-two groups.

    A config larger than a piece takes several equal pieces whole.
    """
    size = config.num_devices
    if size > pieces[0]:
        per_group = size // pieces[0]
        num_groups = pieces.count(pieces[0]) // per_group
        configs, rests = [config] * num_groups, pieces[num_groups * per_group :]
    else:
        configs, rests = [config] * sum(piece // size for piece in pieces), [piece % size for piece in pieces]
    for rest in rests:
        configs += leftover_configs(config, rest, is_useful)
    return configs


def leftover_configs(config: ParallelConfig, num_devices: int, is_useful: IsUseful) -> list[ParallelConfig]:
    """Power-of-two groups for a remainder, as alike to `config` as is useful."""
    if num_devices == 0:
        return []
    size = 1 << (num_devices.bit_length() - 1)
    factorings = (ParallelConfig(size // intra_op, intra_op) for intra_op in INTRA_OPS if size % intra_op == 0)
    useful = [found for found in factorings if found.inter_op <= MAX_INTER_OP and is_useful(found)]
    if useful:
        likest = [min(useful, key=lambda found: abs(found.intra_op - config.intra_op))]
    elif size > 1:
        likest = 2 * leftover_configs(config, size // 2, is_useful)
    else:
        likest = [ParallelConfig(1, 1)]
    return likest + leftover_configs(config, num_devices - size, is_useful)


def pack(cluster: Cluster, configs: list[ParallelConfig]) -> Partition | None:
    """Give every group its devices, or None if the nodes do not hold them; the order stays."""
    free = []
    first = 0
    for size in node_sizes(cluster):
        free.append(list(range(first, first + size)))
        first += size
    taken: dict[int, tuple[int, ...]] = {}
    largest_first = sorted(range(len(configs)), key=lambda i: -configs[i].num_devices)
    for index in largest_first:
        devices = _take(free, configs[index].num_devices, cluster.devices_per_node)
        if devices is None:
            return None
        taken[index] = devices
    return Partition(tuple(configs), tuple(taken[i] for i in range(len(configs))))


def uniform_partition(cluster: Cluster, config: ParallelConfig, is_useful: IsUseful) -> Partition:
    """The whole cluster in groups of `config`, and smaller ones for what is left."""
    partition = pack(cluster, uniform_configs(config, node_sizes(cluster), is_useful))
    if partition is None:
        raise AssertionError(f"{config} groups that were cut from nodes do not fit them")
    return partition


def _take(free: list[list[int]], size: int, devices_per_node: int) -> tuple[int, ...] | None:
    """Remove `size` devices from one node, or from whole nodes in a row."""
    if size <= devices_per_node:
        for node in free:
            if len(node) >= size:
                devices = tuple(node[:size])
                del node[:size]
                return devices
        return None
    num_nodes = size // devices_per_node
    for start in range(len(free) - num_nodes + 1):
        nodes = free[start : start + num_nodes]
        if all(len(node) == devices_per_node for node in nodes):
            devices = tuple(device for node in nodes for device in node)
            for node in nodes:
                node.clear()
            return devices
    return None
