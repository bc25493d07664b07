"""The published search: algorithm 2 with the fast greedy inside (AlpaServe, section 4.2)."""

from collections.abc import Iterator, Sequence

import numpy as np

from services.core.profile import ParallelConfig
from services.planner.policies.buckets import device_splits, latency_buckets
from services.planner.policies.greedy import better_published, fill_greedily
from services.planner.policies.partition import Partition, candidate_configs, pack, uniform_configs, uniform_partition
from services.planner.policies.search import Evaluation, Fleet, Search


def plan_published(search: Search) -> Evaluation:
    """The best of one bucket for all models and every split of the devices over latency buckets."""
    best: Evaluation | None = None
    for fleet in uniform_fleets(search):
        if best is None or search.may_simulate():
            best = better_published(best, fill_greedily(search, fleet))
    for joined in best_of_buckets(search):
        best = better_published(best, joined)
    if best is None:
        raise AssertionError("a cluster with no partition at all")
    return best


def best_of_buckets(search: Search) -> Iterator[Evaluation]:
    """Every split's best filling, most even load first, while the budget lasts."""
    buckets = latency_buckets(search.problem)
    if len(buckets) < 2:
        return
    halls = [Hall(search, bucket) for bucket in buckets]
    for split in device_splits(search.problem, buckets):
        if not search.may_simulate():
            return
        joined = join(search, [hall.best(num_devices) for hall, num_devices in zip(halls, split, strict=True)])
        if joined is not None:
            yield joined


def uniform_fleets(search: Search) -> Iterator[Fleet]:
    """A fleet for every config that some model fits; single devices if there is none."""
    cluster = search.problem.spec.cluster
    configs = [config for config in candidate_configs(cluster) if search.is_useful(config)]
    for config in configs or [ParallelConfig(1, 1)]:
        yield search.fleet(uniform_partition(cluster, config, search.is_useful))


class Hall:
    """One bucket's search by number of devices, each done once: buckets share nothing."""

    def __init__(self, search: Search, bucket: Sequence[int]) -> None:
        self._search = search
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
            best = better_published(best, fill_greedily(self._search, fleet, self._problem))
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
    replicas = np.concatenate([part.replicas for part in found], axis=1)
    return search.simulate(search.fleet(partition), replicas)
