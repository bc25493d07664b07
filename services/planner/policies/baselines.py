"""The policies that searches are compared with (AlpaServe, sections 6.2 and 6.5)."""

import numpy as np

from services.core.errors import InvalidArgument, UnknownProfile
from services.core.factoring import fits_nodes
from services.core.profile import ParallelConfig
from services.planner.policies.filling import Filling
from services.planner.policies.greedy import fill_greedily
from services.planner.policies.partition import node_sizes, pack, uniform_partition
from services.planner.policies.search import Evaluation, Fleet, Replicas, Search

_ROUND_ROBIN_CONFIG = ParallelConfig(4, 1)


def plan_selective_replication(search: Search) -> Evaluation:
    """The greedy over single devices: replication without model parallelism."""
    return fill_greedily(search, _uniform_fleet(search, ParallelConfig(1, 1)))


def plan_fixed(search: Search, config: ParallelConfig) -> Evaluation:
    """The greedy over groups of one given config; devices beyond whole groups stay unused.

    Raises: InvalidArgument if the cluster has no such group, UnknownProfile if no profile has it.
    """
    cluster = search.problem.spec.cluster
    size = config.num_devices
    if size > cluster.num_devices or not fits_nodes(size, cluster):
        raise InvalidArgument(
            f"a {config} group needs {size} devices of one node or whole nodes; the cluster has "
            f"{cluster.num_devices}, {cluster.devices_per_node} a node"
        )
    if not any(search.problem.profiles[model.profile].find(config) for model in search.problem.spec.models):
        raise UnknownProfile(f"no model's profile has the config {config}")
    if size <= cluster.devices_per_node:
        num_groups = sum(piece // size for piece in node_sizes(cluster))
    else:
        num_groups = node_sizes(cluster).count(cluster.devices_per_node) * cluster.devices_per_node // size
    partition = pack(cluster, [config] * num_groups)
    if partition is None:
        raise AssertionError(f"{num_groups} {config} groups do not fit the nodes they were counted from")
    return fill_greedily(search, search.fleet(partition))


def plan_round_robin(search: Search) -> Evaluation:
    """Pipelines of four stages; models are dealt to them in turn until nothing fits."""
    fleet = _uniform_fleet(search, _ROUND_ROBIN_CONFIG)
    filling = Filling(fleet)
    position = 0
    was_dealt = True
    while was_dealt:
        was_dealt = False
        for model in range(search.problem.num_models):
            fits = np.flatnonzero(filling.addable[model])
            if len(fits):
                group = int(fits[np.argmin((fits - position) % fleet.num_groups)])
                filling.add(model, group)
                position, was_dealt = group + 1, True
    return search.simulate(fleet, filling.replicas)


def plan_uniform(search: Search) -> Evaluation:
    """Single devices, and as many replicas of every model as memory allows, the same for each."""
    fleet = _uniform_fleet(search, ParallelConfig(1, 1))
    replicas = fleet.empty()
    while (more := _one_more_each(fleet, replicas)) is not None:
        replicas = more
    if not replicas.any():
        replicas = _one_each_that_fits(fleet)
    return search.simulate(fleet, replicas)


def _one_more_each(fleet: Fleet, replicas: Replicas) -> Replicas | None:
    """Another replica of every model that fits a device at all, or None if there is no room."""
    more = Filling(fleet, replicas)
    models = _heaviest_first(fleet)
    return more.replicas if models and all(more.add_where_roomiest(m) is not None for m in models) else None


def _one_each_that_fits(fleet: Fleet) -> Replicas:
    filling = Filling(fleet)
    for model in _heaviest_first(fleet):
        filling.add_where_roomiest(model)
    return filling.replicas


def _heaviest_first(fleet: Fleet) -> list[int]:
    """Models that fit some group of their own."""
    fits = np.flatnonzero((fleet.weight_bytes <= fleet.memory_bytes).any(axis=1))
    return [int(m) for m in sorted(fits, key=lambda m: -int(fleet.weight_bytes[m].min()))]


def _uniform_fleet(search: Search, config: ParallelConfig) -> Fleet:
    cluster = search.problem.spec.cluster
    return search.fleet(uniform_partition(cluster, config, search.is_useful))
