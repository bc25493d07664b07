"""The published search: algorithm 2 with algorithm 1 inside, the fast greedy or the beam
(AlpaServe, section 4.2)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from services.core.factoring import candidate_configs
from services.core.problem import Problem
from services.core.profile import ParallelConfig
from services.planner.policies.buckets import device_splits, latency_buckets
from services.planner.policies.greedy import better_published, fill_greedily, with_spare_replicas
from services.planner.policies.nodes import spread_shortfall
from services.planner.policies.partition import Partition, pack, uniform_configs, uniform_partition
from services.planner.policies.search import Evaluation, Fleet, Search

_UNBUCKETED_SHARE = 0.5


class Fill(Protocol):
    """Model selection: groups are given, replicas are chosen. `problem` restricts the requests."""

    def __call__(self, search: Search, fleet: Fleet, problem: Problem | None = None) -> Evaluation: ...


def plan_published(search: Search, fill: Fill = fill_greedily) -> Evaluation:
    """The best of one bucket for all models and every split of the devices over latency buckets;
    the former has half of a budget."""
    buckets = latency_buckets(search.problem)
    fleets = uniform_fleets(search)
    if len(buckets) < 2:
        return best_of_fleets(search, fleets, fill)
    best = best_of_fleets(search, fleets, fill, _UNBUCKETED_SHARE)
    # Alike on all of these fleets.
    fewest = out_of_reach(search, fleets[0])
    for joined in splits_filled(search, buckets, fill):
        if out_of_reach(search, joined.fleet) <= fewest:
            best = better_published(best, joined)
    return best


def plan_unbucketed(search: Search, fill: Fill = fill_greedily) -> Evaluation:
    """The best config for all groups alike."""
    return best_of_fleets(search, uniform_fleets(search), fill)


def best_of_fleets(search: Search, fleets: Sequence[Fleet], fill: Fill, share: float = 1.0) -> Evaluation:
    """The best filling of any of these; each has its part of this share of a budget."""
    best: Evaluation | None = None
    for index, fleet in enumerate(fleets):
        with search.capped(share * (index + 1) / len(fleets)):
            if best is None or search.may_simulate():
                best = better_published(best, fill(search, fleet))
    if best is None:
        raise AssertionError("a cluster with no partition at all")
    return best


def splits_filled(search: Search, buckets: Sequence[Sequence[int]], fill: Fill) -> Iterator[Evaluation]:
    """Every split's best filling, most even load first, while the budget lasts."""
    halls = [Hall(search, bucket, fill) for bucket in buckets]
    for split in device_splits(search.problem, buckets):
        if not search.may_simulate():
            return
        joined = join(search, [hall.best(num_devices) for hall, num_devices in zip(halls, split, strict=True)])
        if joined is not None:
            yield joined


def uniform_fleets(search: Search) -> list[Fleet]:
    """A fleet for every config that some model fits; single devices if there is none. Of these, the
    ones on which pinned and spread models reach their nodes as far as on any."""
    cluster = search.problem.spec.cluster
    configs = [config for config in candidate_configs(cluster) if search.is_useful(config)]
    partitions = [uniform_partition(cluster, config, search.is_useful) for config in configs or [ParallelConfig(1, 1)]]
    fleets = [search.fleet(partition) for partition in partitions]
    lacking = [out_of_reach(search, fleet) for fleet in fleets]
    return [fleet for fleet, lacks in zip(fleets, lacking, strict=True) if lacks == min(lacking)]


def out_of_reach(search: Search, fleet: Fleet) -> int:
    """Nodes that models would lack even if each were on every group that may hold it."""
    everywhere = fleet.weight_bytes <= fleet.memory_bytes
    return int(spread_shortfall(search.problem.spec, fleet.partition, everywhere).sum())


class Hall:
    """One bucket's search by number of devices, each done once: buckets share nothing."""

    def __init__(self, search: Search, bucket: Sequence[int], fill: Fill) -> None:
        self._search = search
        self._fill = fill
        self._bucket = list(bucket)
        self._problem = search.problem.restricted(search.problem.spec.models[m].name for m in bucket)
        self._best: dict[int, Evaluation | None] = {}

    def best(self, num_devices: int) -> Evaluation | None:
        """The bucket's best filling of so many devices, None if nothing fits or the budget is spent."""
        if num_devices not in self._best:
            self._best[num_devices] = self._search_devices(num_devices)
        return self._best[num_devices]

    def _search_devices(self, num_devices: int) -> Evaluation | None:
        best: Evaluation | None = None
        for config in candidate_configs(self._search.problem.spec.cluster):
            if config.num_devices > num_devices or not self._is_useful(config):
                continue
            if not self._search.may_simulate(reserve=1):
                break
            configs = uniform_configs(config, [num_devices], self._is_useful)
            # The groups have no devices yet: `join` gives them some.
            fleet = self._search.fleet(Partition(tuple(configs), ((),) * len(configs)))
            best = better_published(best, self._fill(self._search, fleet, self._problem))
        return best

    def _is_useful(self, config: ParallelConfig) -> bool:
        return self._search.is_useful(config, self._bucket)


def join(search: Search, parts: Sequence[Evaluation | None]) -> Evaluation | None:
    """Buckets side by side, simulated; None if one has nothing, the nodes do not hold them, or the
    budget is spent."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or not search.may_simulate():
        return None
    configs = [config for part in found for config in part.fleet.partition.configs]
    partition = pack(search.problem.spec.cluster, configs)
    if partition is None:
        return None
    fleet = search.fleet(partition)
    replicas = np.concatenate([part.replicas for part in found], axis=1)
    # The groups had no devices yet: now some may be off the nodes of a model that is pinned.
    allowed = replicas & (fleet.weight_bytes <= fleet.memory_bytes)
    if (allowed != replicas).any():
        allowed = with_spare_replicas(fleet, allowed, search.problem.workload.num_requests_of)
    return search.simulate(fleet, allowed)
