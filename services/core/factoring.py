"""Which parallel configs a group may have: every inter_op · intra_op factoring of every power of two, on devices
of one node or of whole nodes (AlpaServe, section 4.2, algorithm 2).
"""

from collections.abc import Iterator

from services.core.profile import ParallelConfig
from services.core.spec import Cluster

MAX_INTER_OP = 8
INTRA_OPS = (1, 2, 4)


def candidate_configs(cluster: Cluster) -> Iterator[ParallelConfig]:
    """The configs that a group of this cluster may have, smallest groups first."""
    size = 1
    while size <= cluster.num_devices:
        if fits_nodes(size, cluster):
            for intra_op in INTRA_OPS:
                if size % intra_op == 0 and size // intra_op <= MAX_INTER_OP:
                    yield ParallelConfig(size // intra_op, intra_op)
        size *= 2


def fits_nodes(size: int, cluster: Cluster) -> bool:
    return size <= cluster.devices_per_node or size % cluster.devices_per_node == 0
