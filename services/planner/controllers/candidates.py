"""What could run instead: a fresh plan, and what a short walk from the running placement finds.

Both stand on devices where the most of what runs can stay.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.core.deployment import Deployment
from services.core.errors import NotPlaced
from services.core.placement import Group, Placement
from services.core.problem import Problem, pose
from services.core.profile import ParallelConfig
from services.core.spec import Cluster
from services.core.workload import Workload
from services.planner.alignment import aligned
from services.planner.controllers.outlook import joined
from services.planner.controllers.setting import Effort, Setting
from services.planner.policies.annealing.chain import begin_chain
from services.planner.policies.annealing.cooling import cool
from services.planner.policies.annealing.ground import HeldGroup, groups_of, make_ground, state_of
from services.planner.policies.improved import finished
from services.planner.policies.nodes import asks_for_nodes
from services.planner.policies.partition import node_sizes
from services.planner.policies.plan import DEFAULT_POLICY, make_plan
from services.planner.policies.search import Search

# A walk that begins nearly cold keeps what is good about the running placement.
_NEARBY_HEAT = 0.05
_NEARBY_SHARE = 0.97


def candidates(
    setting: Setting, running: Placement, workloads: Sequence[Workload], effort: Effort
) -> tuple[list[Placement], int]:
    """Placements to judge, and the simulations spent on them; none where no model can be placed.

    `workloads` are planned for one after the other. Raises: what `pose` raises.
    """
    planned = excerpt(workloads, setting.horizon_s, effort.num_planned_requests)
    problem = pose(setting.spec, setting.plannable, planned)
    searches = [_search(problem, setting, effort, index) for index in range(2)]
    found = []
    try:
        found.append(make_plan(DEFAULT_POLICY, searches[0]).placement)
        found.append(nearby(searches[1], running))
    except NotPlaced:
        pass
    rates = dict(zip(setting.spec.names, problem.workload.num_requests_of.tolist(), strict=True))
    placed = [_urgent_first(_on_devices(own, running, setting), rates) for own in found]
    different = [own for own in dict.fromkeys(placed) if _groups(own) != _groups(running)]
    return different, sum(search.num_simulations for search in searches)


def nearby(search: Search, running: Placement) -> Placement:
    """The best placement that a walk from the running one meets."""
    cluster, index_of = search.problem.spec.cluster, {name: i for i, name in enumerate(search.problem.spec.names)}
    ground = make_ground(search, [search.problem.requests])
    held = [
        HeldGroup(group.config, cluster.node_of(group.devices[0]), tuple(index_of[name] for name in group.models))
        for group in running.groups
        if _is_plannable(group, cluster)
    ]
    chains = [begin_chain(ground, state_of(ground, held), search.seed + i) for i in range(search.num_chains)]
    (part,) = cool(search, [chains], _NEARBY_SHARE, None, _NEARBY_HEAT)
    found = finished(search, groups_of(ground, part[0].best))
    return found.fleet.placement(found.replicas, search.problem.spec.names, search.dispatch)


def _search(problem: Problem, setting: Setting, effort: Effort, index: int) -> Search:
    limits = effort.limits(index, 2)
    return Search(problem, setting.dispatch, effort.seed + index, limits, pool=effort.pool)


def excerpt(workloads: Sequence[Workload], horizon_s: float, most: int) -> Workload:
    """Equal parts of the workloads from later and later in the horizon, one after the other, with about so
    many requests in all."""
    share = min(most / max(sum(len(own.between(0.0, horizon_s)) for own in workloads), 1), 1.0)
    length_s = horizon_s * share
    begins_s = np.linspace(0.0, horizon_s - length_s, len(workloads)).tolist()
    parts = [own.between(begin_s, begin_s + length_s) for own, begin_s in zip(workloads, begins_s, strict=True)]
    return joined(parts, [index * length_s for index in range(len(parts))])


def _on_devices(placement: Placement, running: Placement, setting: Setting) -> Placement:
    """On devices of running groups; where models ask for nodes, on the devices that were planned."""
    batched = replace(placement, max_batch_size=running.max_batch_size)
    if asks_for_nodes(setting.spec):
        return batched
    first, nodes = 0, []
    for size in node_sizes(setting.spec.cluster):
        nodes.append(range(first, first + size))
        first += size
    return aligned(batched, Deployment.of(running).groups, nodes)


def _urgent_first(placement: Placement, num_requests: dict[str, int]) -> Placement:
    """Groups load in the order in which they list their models, so the busiest come first; idle groups go."""
    groups = (
        Group(group.config, group.devices, tuple(sorted(group.models, key=lambda name: -num_requests[name])))
        for group in placement.groups
        if group.models
    )
    return replace(placement, groups=tuple(groups))


def _groups(placement: Placement) -> set[tuple[ParallelConfig, tuple[int, ...], frozenset[str]]]:
    """What a placement is, whatever the order."""
    return {(group.config, group.devices, frozenset(group.models)) for group in placement.groups if group.models}


def _is_plannable(group: Group, cluster: Cluster) -> bool:
    """Whether a group lies on as few of the planned nodes as may be: live ones may be cut smaller than workers are."""
    nodes = {cluster.node_of(device) for device in group.devices}
    return len(nodes) <= -(-len(group.devices) // cluster.devices_per_node)
