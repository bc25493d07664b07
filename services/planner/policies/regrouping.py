"""Moves that change the groups themselves: merge two, split one, reshape one.

Merging halves what a model weighs on each device and splitting doubles it, so most replicas stay.
"""

import numpy as np
from numpy.typing import NDArray

from services.core.profile import ParallelConfig
from services.planner.policies.moves import Change
from services.planner.policies.partition import Partition, candidate_configs, fits_nodes
from services.planner.policies.search import Evaluation, Fleet, Search


def regroup(search: Search, state: Evaluation, rng: np.random.Generator) -> Change | None:
    """Merge, split or reshape a group drawn at random; its models settle where they still fit."""
    partition = state.fleet.partition
    group = int(rng.integers(len(partition.configs)))
    size = partition.configs[group].num_devices
    kind = int(rng.integers(3))
    if kind == 0:
        other = _neighbour(search, partition, group)
        return None if other is None else _recut(search, state, rng, [group, other], [2 * size])
    if kind == 1:
        return _recut(search, state, rng, [group], [size // 2, size // 2]) if size % 2 == 0 else None
    return _recut(search, state, rng, [group], [size])


def _neighbour(search: Search, partition: Partition, group: int) -> int | None:
    """A group of the same size with which this one may form a group twice as large."""
    cluster = search.problem.spec.cluster
    size = partition.configs[group].num_devices
    if not fits_nodes(2 * size, cluster):
        return None
    node = cluster.node_of(partition.devices[group][0])
    within = 2 * size <= cluster.devices_per_node
    for other, config in enumerate(partition.configs):
        if other == group or config.num_devices != size:
            continue
        distance = cluster.node_of(partition.devices[other][0]) - node
        if distance == 0 if within else distance * cluster.devices_per_node == size:
            return other
    return None


def _recut(
    search: Search, state: Evaluation, rng: np.random.Generator, old: list[int], sizes: list[int]
) -> Change | None:
    """Replace the groups `old` by groups of these sizes on the same devices."""
    partition = state.fleet.partition
    devices = sorted(device for group in old for device in partition.devices[group])
    configs = [_draw_config(search, size, rng) for size in sizes]
    if None in configs or [partition.configs[g] for g in old] == configs:
        return None
    kept = [g for g in range(len(partition.configs)) if g not in old]
    starts = np.cumsum([0, *sizes])
    pieces = [tuple(devices[starts[i] : starts[i + 1]]) for i in range(len(sizes))]
    new = Partition(
        tuple(partition.configs[g] for g in kept) + tuple(config for config in configs if config),
        tuple(partition.devices[g] for g in kept) + tuple(pieces),
    )
    fleet = search.fleet(new)
    moved = state.replicas[:, old].sum(axis=1)
    columns = np.zeros((len(moved), len(sizes)), dtype=np.bool_)
    replicas = np.concatenate([state.replicas[:, kept], columns], axis=1)
    _settle_all(fleet, replicas, moved, len(kept), rng)
    return fleet, replicas


def _settle_all(
    fleet: Fleet, replicas: NDArray[np.bool_], moved: NDArray[np.int64], first_new: int, rng: np.random.Generator
) -> None:
    """Put the models that were `moved` (num_models,) on the groups from `first_new` on, in place:
    each once, those that have no other group before all others; then again while there is room."""
    free_bytes = fleet.free_bytes(replicas)[first_new:]
    weight_bytes = fleet.weight_bytes[:, first_new:]
    models = rng.permutation(np.flatnonzero(moved))
    has_other: NDArray[np.bool_] = np.asarray(replicas.any(axis=1))
    order = sorted(models, key=lambda m: bool(has_other[m]))
    for _ in range(weight_bytes.shape[1]):
        for model in order:
            room = np.where(replicas[model, first_new:], -1, free_bytes - weight_bytes[model])
            goal = int(np.argmax(room))
            if room[goal] >= 0:
                replicas[model, first_new + goal] = True
                free_bytes[goal] -= weight_bytes[model, goal]


def _draw_config(search: Search, size: int, rng: np.random.Generator) -> ParallelConfig | None:
    cluster = search.problem.spec.cluster
    configs = [c for c in candidate_configs(cluster) if c.num_devices == size and search.is_useful(c)]
    return configs[rng.integers(len(configs))] if configs else None
