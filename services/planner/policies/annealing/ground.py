"""What a walk goes over, made of a search's problem: flat tables, traffic in blocks, states of groups."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.factoring import fits_nodes
from services.core.kernel import Clocks, Fates, Requests, Tally
from services.core.profile import ParallelConfig
from services.core.schedule import SHORTEST_QUEUE
from services.core.spec import Cluster, Spec
from services.planner.policies.annealing import terrain
from services.planner.policies.annealing.terrain import State, Terrain
from services.planner.policies.annealing.walk import Bench, Blocks
from services.planner.policies.partition import Partition, node_sizes
from services.planner.policies.search import Replicas, Search

_BLOCK_REQUESTS = 512
_MOST_BLOCKS = 256
_SAMPLES = 16


class HeldGroup(NamedTuple):
    """A group by its config and first node, and the models (indices) that it holds."""

    config: ParallelConfig
    node: int
    models: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What a chain walks on: a problem's tables and the traffic that it plans for.

    `blocks` cut `requests`, which may be several workloads in a row, each from idle clocks;
    `is_exact` where they are the problem's own, so that attainment on them is the problem's.
    """

    configs: tuple[ParallelConfig, ...]
    terrain: Terrain
    requests: Requests
    blocks: Blocks
    rule: int
    most_groups: int
    is_exact: bool

    @property
    def num_requests(self) -> int:
        return len(self.requests.arrival_s)


def make_ground(search: Search, workloads: Sequence[Requests]) -> Ground:
    """The tables of a search's problem, for these requests of it, one workload after the other."""
    problem = search.problem
    cluster = problem.spec.cluster
    configs = useful_configs(search)
    arrays = zip(*workloads, strict=True)
    requests = Requests(*(np.ascontiguousarray(np.concatenate(columns)) for columns in arrays))
    num_requests = np.bincount(requests.model, minlength=problem.num_models).astype(np.int64)
    return Ground(
        configs=configs,
        terrain=_terrain(search, configs, num_requests),
        requests=requests,
        blocks=_blocks([len(workload.arrival_s) for workload in workloads]),
        rule=search.dispatch_rule,
        most_groups=cluster.num_devices // min((c.num_devices for c in configs), default=1),
        is_exact=len(workloads) == 1 and len(requests.arrival_s) == problem.num_requests,
    )


def sampled(requests: Requests, share: float) -> list[Requests]:
    """About this share of the requests: the beginnings of equal parts of the workload."""
    edges = np.linspace(0, len(requests.arrival_s), _SAMPLES + 1).astype(int).tolist()
    spans = [slice(begin, begin + max(round((end - begin) * share), 1)) for begin, end in pairwise(edges)]
    return [Requests(requests.arrival_s[own], requests.model[own], requests.slo_s[own]) for own in spans]


def useful_configs(search: Search) -> tuple[ParallelConfig, ...]:
    """Configs that some model's profile has, that fit the nodes and that hold some model."""
    cluster = search.problem.spec.cluster
    profiles = [search.problem.profiles[name] for name in search.problem.profile_names]
    known = sorted({config for profile in profiles for config in profile.configs})
    return tuple(
        config
        for config in known
        if config.num_devices <= cluster.num_devices
        and fits_nodes(config.num_devices, cluster)
        and search.is_useful(config)
    )


def state_of(ground: Ground, groups: Iterable[HeldGroup]) -> State:
    """Filled groups as a state; groups of configs that no model can use are left out."""
    tables = ground.terrain
    state = empty_state(ground.most_groups, len(tables.profile_row))
    for held in groups:
        if held.config in ground.configs:
            group = terrain.open_group(state, ground.configs.index(held.config), held.node)
            for model in held.models:
                terrain.add(tables, state, model, group)
    return state


def groups_of(ground: Ground, state: State) -> list[HeldGroup]:
    """The inverse of `state_of`."""
    return [
        HeldGroup(ground.configs[state.config[g]], int(state.node[g]), tuple(np.flatnonzero(state.held[g]).tolist()))
        for g in range(int(state.num_groups[0]))
    ]


def held_groups(cluster: Cluster, partition: Partition, replicas: Replicas) -> list[HeldGroup]:
    """A filled fleet's groups; `replicas` (num_models, num_groups)."""
    placed = zip(partition.configs, partition.devices, replicas.T, strict=True)
    return [
        HeldGroup(config, cluster.node_of(devices[0]), tuple(np.flatnonzero(held).tolist()))
        for config, devices, held in placed
    ]


def fleet_of(cluster: Cluster, num_models: int, groups: Sequence[HeldGroup]) -> tuple[Partition, Replicas]:
    """The inverse of `held_groups`, devices given out node by node."""
    next_device = [node * cluster.devices_per_node for node in range(cluster.num_nodes)]
    devices = []
    replicas = np.zeros((num_models, len(groups)), dtype=np.bool_)
    for index, held in enumerate(groups):
        first = next_device[held.node]
        devices.append(tuple(range(first, first + held.config.num_devices)))
        next_device[held.node] += held.config.num_devices
        replicas[list(held.models), index] = True
    return Partition(tuple(held.config for held in groups), tuple(devices)), replicas


def empty_state(most_groups: int, num_models: int) -> State:
    """No groups, and room for so many."""
    return State(
        num_groups=np.zeros(1, np.int64),
        config=np.zeros(most_groups, np.int64),
        node=np.zeros(most_groups, np.int64),
        used_bytes=np.zeros(most_groups, np.int64),
        held=np.zeros((most_groups, num_models), np.bool_),
        num_hosts=np.zeros(num_models, np.int64),
    )


def make_bench(ground: Ground) -> Bench:
    """Room for the simulations of one leg."""
    tables, num_groups = ground.terrain, ground.most_groups
    num_models, num_blocks = len(tables.profile_row), len(ground.blocks.is_fresh)
    num_listed = ground.num_requests if ground.rule == SHORTEST_QUEUE else 0
    num_stages = int(tables.node_size.sum())
    return Bench(
        first_stage=np.zeros(num_groups + 1, np.int32),
        first_host=np.zeros(num_models + 1, np.int32),
        host=np.zeros(num_models * num_groups, np.int32),
        latency_s=np.zeros((tables.latency_s.shape[1], num_stages)),
        clocks=Clocks(
            free_at=np.zeros(num_stages),
            num_in_flight=np.zeros(num_groups, np.int32),
            oldest=np.zeros(num_groups, np.int32),
            newest=np.zeros(num_groups, np.int32),
            younger=np.empty(num_listed, np.int32),
            stage_end_s=np.empty(num_listed),
        ),
        tally=Tally(
            attained=np.zeros(num_models, np.int64),
            group_requests=np.zeros(num_groups, np.int64),
            group_attained=np.zeros(num_groups, np.int64),
            latency_s=np.zeros(1),
        ),
        fates=Fates(np.empty(0, np.int32), np.empty(0)),
        missed=np.zeros(num_blocks, np.int64),
        kept_missed=np.zeros(num_blocks, np.int64),
        kept_attained=np.zeros(num_models, np.int64),
        unserved=np.zeros(num_models, np.int64),
        moved=np.zeros(num_models, np.int64),
    )


def _terrain(search: Search, configs: Sequence[ParallelConfig], num_requests: NDArray[np.int64]) -> Terrain:
    problem = search.problem
    cluster = problem.spec.cluster
    sizes = node_sizes(cluster)
    most_stages = max((config.inter_op for config in configs), default=1)
    latency_s = np.zeros((len(configs), len(problem.profile_names), most_stages))
    span = np.zeros((len(configs), len(sizes)), np.int64)
    weight_bytes = np.empty((len(configs), problem.num_models), np.int64)
    for index, config in enumerate(configs):
        latency_s[index, :, : config.inter_op] = problem.lanes([config]).latency_s
        span[index] = [_span(sizes[node:], config.num_devices) for node in range(len(sizes))]
        weight_bytes[index] = search.weight_bytes(config)
    return Terrain(
        weight_bytes=weight_bytes,
        size=np.array([config.num_devices for config in configs], np.int64),
        num_stages=np.array([config.inter_op for config in configs], np.int64),
        latency_s=latency_s,
        profile_row=problem.profile_row,
        node_size=np.array(sizes, np.int64),
        span=span,
        fits=_fits(problem.spec, span, weight_bytes),
        min_nodes=np.array([model.min_nodes for model in problem.spec.models], np.int64),
        num_requests=num_requests,
        memory_bytes=cluster.memory_bytes,
        request_overhead_s=float(problem.profiles.request_overhead_s),
        most_span=int(span.max(initial=1)),
    )


def _span(sizes: Sequence[int], num_devices: int) -> int:
    """Over how many of these nodes a group reaches: one, or as many whole ones as it has devices."""
    reached = np.cumsum(sizes)
    if num_devices <= sizes[0]:
        return 1
    return int(np.flatnonzero(reached == num_devices)[0]) + 1 if num_devices in reached else 0


def _fits(spec: Spec, span: NDArray[np.int64], weight_bytes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Terrain.fits, (num_configs, num_nodes, num_models)."""
    memory = weight_bytes <= spec.cluster.memory_bytes
    fits = np.repeat(memory[:, None, :], span.shape[1], axis=1)
    for index, model in enumerate(spec.models):
        if model.nodes is not None:
            for (config, node), reach in np.ndenumerate(span):
                inside = all(model.allows(n) for n in range(node, node + int(reach)))
                fits[config, node, index] &= inside
    return fits


def _blocks(lengths: Sequence[int]) -> Blocks:
    """Runs of requests, each workload's first from idle clocks."""
    length = max(_BLOCK_REQUESTS, sum(lengths) // _MOST_BLOCKS)
    begin: list[int] = []
    is_fresh: list[bool] = []
    first = 0
    for num_requests in lengths:
        own = range(first, first + num_requests, length)
        begin += own
        is_fresh += [i == 0 for i in range(len(own))]
        first += num_requests
    return Blocks(np.array([*begin, first], np.int64), np.array(is_fresh, np.bool_))
