"""Mends a policy's result where pinned and spread models lack nodes: more replicas, at others' expense."""

import numpy as np
from numpy.typing import NDArray

from services.core.spec import Spec
from services.planner.policies.nodes import group_nodes, spread_shortfall
from services.planner.policies.search import Evaluation, Fleet, Replicas, Search


def with_asked_nodes(search: Search, found: Evaluation) -> Evaluation:
    """The same, simulated again if it took further replicas to reach the nodes that models ask for."""
    spec = search.problem.spec
    replicas = spread_replicas(spec, found.fleet, found.replicas, search.problem.workload.num_requests_of)
    return found if (replicas == found.replicas).all() else search.simulate(found.fleet, replicas)


def spread_replicas(spec: Spec, fleet: Fleet, replicas: Replicas, num_requests: NDArray[np.int64]) -> Replicas:
    """Further replicas on nodes that models lack, as far as memory allows, heaviest models first.

    Surplus replicas of others make way, least requested first: never the last one of a model, nor
    one that its own spread needs. `num_requests` (num_models,).
    """
    spread = replicas.copy()
    lacks = spread_shortfall(spec, fleet.partition, spread)
    for model in sorted(np.flatnonzero(lacks).tolist(), key=lambda m: -int(fleet.weight_bytes[m].min(initial=0))):
        for _ in range(lacks[model]):
            reached = _with_one_more_node(spec, fleet, spread, model, num_requests)
            if reached is None:
                break
            spread = reached
    return spread


def _with_one_more_node(
    spec: Spec, fleet: Fleet, replicas: Replicas, model: int, num_requests: NDArray[np.int64]
) -> Replicas | None:
    """The model on one more group of another node, at the least cost in requests of the others."""
    stands = group_nodes(spec.cluster, fleet.partition)
    touched = stands[replicas[model]].any(axis=0)
    reaches_further = stands[:, ~touched].any(axis=1)
    best: tuple[float, int, Replicas] | None = None
    for group in np.flatnonzero(reaches_further & (fleet.weight_bytes[model] <= fleet.memory_bytes)).tolist():
        cleared = _with_room(spec, fleet, replicas, (model, group), num_requests)
        if cleared is None:
            continue
        lost = (num_requests / np.maximum(replicas.sum(axis=1), 1))[replicas[:, group] & ~cleared[:, group]].sum()
        cost = (float(lost), -int(fleet.free_bytes(cleared)[group]))
        if best is None or cost < best[:2]:
            best = (*cost, cleared)
    return None if best is None else best[2]


def _with_room(
    spec: Spec, fleet: Fleet, replicas: Replicas, replica: tuple[int, int], num_requests: NDArray[np.int64]
) -> Replicas | None:
    """The replica (model, group) added, and as many surplus ones of its group removed as it takes."""
    model, group = replica
    changed = replicas.copy()
    changed[model, group] = True
    num_hosts = replicas.sum(axis=1)
    per_replica = num_requests / np.maximum(num_hosts, 1)
    surplus = np.flatnonzero(replicas[:, group] & (num_hosts > 1))
    lacks = spread_shortfall(spec, fleet.partition, replicas)
    for other in sorted(surplus.tolist(), key=lambda m: float(per_replica[m])):
        if fleet.free_bytes(changed)[group] >= 0:
            break
        changed[other, group] = False
        changed[other, group] = bool(spread_shortfall(spec, fleet.partition, changed)[other] > lacks[other])
    return changed if fleet.free_bytes(changed)[group] >= 0 else None
