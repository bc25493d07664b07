"""What the user asked for of nodes: which groups may hold a model, and what its spread still lacks."""

import numpy as np
from numpy.typing import NDArray

from services.core.spec import Cluster, Spec
from services.planner.policies.partition import Partition


def group_nodes(cluster: Cluster, partition: Partition) -> NDArray[np.bool_]:
    """The nodes that each group stands on, (num_groups, num_nodes); none where it has no devices yet."""
    stands = np.zeros((len(partition.devices), cluster.num_nodes), dtype=np.bool_)
    for group, devices in enumerate(partition.devices):
        for device in devices:
            stands[group, cluster.node_of(device)] = True
    return stands


def allowed_groups(spec: Spec, partition: Partition) -> NDArray[np.bool_]:
    """Which groups lie within each model's nodes, (num_models, num_groups)."""
    allowed = np.ones((len(spec.models), len(partition.devices)), dtype=np.bool_)
    pinned = [index for index, model in enumerate(spec.models) if model.nodes is not None]
    if pinned:
        stands = group_nodes(spec.cluster, partition)
        for index in pinned:
            outside = [not spec.models[index].allows(node) for node in range(spec.cluster.num_nodes)]
            allowed[index] = ~stands[:, outside].any(axis=1)
    return allowed


def asks_for_nodes(spec: Spec) -> bool:
    """Whether any model is pinned or spread."""
    return any(model.nodes is not None or model.min_nodes > 1 for model in spec.models)


def spread_shortfall(spec: Spec, partition: Partition, replicas: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many nodes each model's replicas (num_models, num_groups) lack of its `min_nodes`, (num_models,).

    A pinned model that is placed nowhere lacks one; models that ask for nothing never lack any.
    """
    lacks = np.zeros(len(spec.models), dtype=np.int64)
    if asks_for_nodes(spec):
        stands = group_nodes(spec.cluster, partition)
        for index, model in enumerate(spec.models):
            if model.nodes is not None or model.min_nodes > 1:
                touched = int(np.count_nonzero(stands[replicas[index]].any(axis=0)))
                lacks[index] = max(model.min_nodes - touched, 0)
    return lacks
