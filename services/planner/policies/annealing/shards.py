"""Large problems cut into shards that share nothing: each has its own nodes, models and requests.

Dispatch and admission look at a model's own groups only, so a placement whose groups share no models
attains exactly what its shards attain, and a change in one costs a simulation of that one alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem, pose
from services.core.spec import Cluster, ModelSpec, Spec
from services.core.workload import Workload
from services.planner.policies.annealing.ground import HeldGroup
from services.planner.policies.bound_costs import Costs, costs_of, least_work_s
from services.planner.policies.partition import node_sizes

_SHARD_DEVICES = 32
# Smaller problems are searched whole: cutting costs some of the multiplexing.
_MOST_WHOLE_DEVICES = 128
# A model may ask for no more of its shard than this.
_MOST_OF_SHARD = 0.5


@dataclass(frozen=True, slots=True)
class Shard:
    """Nodes and requested models, by their indices in the whole problem."""

    nodes: tuple[int, ...]
    models: tuple[int, ...]

    def joined(self, other: "Shard") -> "Shard":
        return Shard(tuple(sorted(self.nodes + other.nodes)), tuple(sorted(self.models + other.models)))

    def posed(self, problem: Problem) -> Problem:
        """The shard as a problem of its own: nodes and models are numbered anew."""
        cluster = problem.spec.cluster
        sizes = node_sizes(cluster)
        devices = sum(sizes[node] for node in self.nodes)
        models = tuple(self._posed_model(problem.spec.models[m]) for m in self.models)
        spec = Spec(Cluster(devices, cluster.devices_per_node, cluster.memory_bytes), models)
        return pose(spec, problem.profiles, self._workload(problem.workload))

    def outside(self, groups: Sequence[HeldGroup]) -> list[HeldGroup]:
        """Groups of the shard's problem as groups of the whole one."""
        return [
            HeldGroup(group.config, self.nodes[group.node], tuple(self.models[m] for m in group.models))
            for group in groups
        ]

    def inside(self, groups: Sequence[HeldGroup]) -> list[HeldGroup]:
        """The inverse of `outside`, of those groups that stand on the shard's nodes."""
        node_of = {node: index for index, node in enumerate(self.nodes)}
        model_of = {model: index for index, model in enumerate(self.models)}
        return [
            HeldGroup(group.config, node_of[group.node], tuple(model_of[m] for m in group.models if m in model_of))
            for group in groups
            if group.node in node_of
        ]

    def _posed_model(self, model: ModelSpec) -> ModelSpec:
        allowed = [index for index, node in enumerate(self.nodes) if model.allows(node)]
        nodes = None if model.nodes is None else tuple(allowed)
        return replace(model, nodes=nodes, min_nodes=min(model.min_nodes, len(allowed)))

    def _workload(self, workload: Workload) -> Workload:
        own = np.full(len(workload.names), -1, dtype=np.int32)
        own[list(self.models)] = np.arange(len(self.models))
        model = own[workload.model]
        kept = model >= 0
        names = tuple(workload.names[m] for m in self.models)
        return Workload(workload.arrival_s[kept], model[kept], workload.slo_s[kept], names)


def cut(problem: Problem) -> list[Shard]:
    """Shards with alike shares of the work and the weights; a small problem is one."""
    sizes = node_sizes(problem.spec.cluster)
    requested = np.flatnonzero(problem.workload.num_requests_of > 0)
    whole = [Shard(tuple(range(len(sizes))), tuple(requested.tolist()))]
    if sum(sizes) <= _MOST_WHOLE_DEVICES:
        return whole
    costs = costs_of(problem)
    work = _work_shares(problem, costs)
    num_nodes = _nodes_per_shard(problem, costs, work)
    num_shards = len(sizes) // num_nodes
    if num_shards < 2:
        return whole
    edges = np.linspace(0, len(sizes), num_shards + 1).astype(int)
    nodes = [tuple(range(first, last)) for first, last in pairwise(edges.tolist())]
    dealt = _deal(problem, work, nodes)
    return [Shard(own, models) for own, models in zip(nodes, dealt, strict=True) if models]


def _work_shares(problem: Problem, costs: Costs) -> NDArray[np.float64]:
    """Each model's share of the device seconds that the requests ask for at least, (num_models,)."""
    work_s = least_work_s(problem, costs)
    finite_s = np.where(np.isfinite(work_s), work_s, 0.0)
    total_s = np.bincount(problem.workload.model, weights=finite_s, minlength=problem.num_models)
    return np.asarray(total_s / max(float(total_s.sum()), 1e-12))


def _nodes_per_shard(problem: Problem, costs: Costs, work: NDArray[np.float64]) -> int:
    """Enough for the config that the widest model needs, and for the model with the most work."""
    cluster = problem.spec.cluster
    widest = int(costs.least_devices.max())
    busiest = float(work.max()) * cluster.num_devices / _MOST_OF_SHARD
    devices = max(_SHARD_DEVICES, 2 * widest, busiest)
    return int(-(-devices // cluster.devices_per_node))


def _deal(problem: Problem, work: NDArray[np.float64], nodes: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Models for each shard, the busiest first, each to the shard with the most left for it."""
    weight = np.array([_least_bytes(problem, m) for m in range(problem.num_models)], dtype=np.float64)
    share = work + weight / max(float(weight.sum()), 1.0)
    room = np.array([len(own) for own in nodes], dtype=np.float64)
    room *= float(share.sum()) / room.sum()
    dealt: list[list[int]] = [[] for _ in nodes]
    requested = np.flatnonzero(problem.workload.num_requests_of > 0)
    for m in requested[np.argsort(-share[requested], kind="stable")].tolist():
        model = problem.spec.models[m]
        reached = np.array([sum(model.allows(node) for node in own) for own in nodes])
        suits = reached >= min(model.min_nodes, int(reached.max()))
        shard = int(np.argmax(np.where(suits, room, -np.inf)))
        room[shard] -= share[m]
        dealt[shard].append(m)
    return [tuple(sorted(models)) for models in dealt]


def _least_bytes(problem: Problem, model: int) -> int:
    """What a replica weighs on all its devices at least, also where a device cannot hold its part."""
    profile = problem.profiles[problem.spec.models[model].profile]
    return min(
        (stage.heaviest_stage_bytes * stage.config.num_devices for stage in profile.stages if stage.batch_size == 1),
        default=0,
    )
