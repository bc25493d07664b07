"""What the bounds know of every config: seconds and bytes, per profile, of all that fit the cluster."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.problem import Problem
from services.core.profile import ParallelConfig

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """`stage_s` holds per config (num_profiles, inter_op) seconds. All else is (num_profiles,
    num_configs): `latency_s` of an idle group with the request overhead and `slowest_s` of the
    slowest stage are infinite, `weight_bytes` of the heaviest stage is -1, where the model cannot be."""

    configs: tuple[ParallelConfig, ...]
    stage_s: tuple[NDArray[np.float64], ...]
    latency_s: NDArray[np.float64]
    slowest_s: NDArray[np.float64]
    weight_bytes: NDArray[np.int64]

    @property
    def num_devices(self) -> NDArray[np.int64]:
        """(num_configs,) of one group."""
        return np.array([config.num_devices for config in self.configs], dtype=np.int64)

    @property
    def least_devices(self) -> NDArray[np.int64]:
        """(num_profiles,) of the smallest group that the model fits, 0 if there is none."""
        fits = self.weight_bytes >= 0
        none = np.iinfo(np.int64).max
        least = np.where(fits, self.num_devices, none).min(axis=1, initial=none)
        return np.where(least < none, least, 0)

    @property
    def work_s(self) -> NDArray[np.float64]:
        """(num_profiles, num_configs) device seconds of a request."""
        work_s = np.full(self.latency_s.shape, math.inf)
        for c, config in enumerate(self.configs):
            busy_s = self.stage_s[c].sum(axis=1) * config.intra_op
            work_s[:, c] = np.where(self.weight_bytes[:, c] >= 0, busy_s, math.inf)
        return work_s


def costs_of(problem: Problem) -> Costs:
    """The costs of every config that some profile has and the cluster can hold."""
    cluster = problem.spec.cluster
    profiles = [problem.profiles[name] for name in problem.profile_names]
    known = {config for profile in profiles for config in profile.configs}
    configs = tuple(sorted(config for config in known if config.num_devices <= cluster.num_devices))
    weight_bytes = np.full((len(profiles), len(configs)), -1, dtype=np.int64)
    for p, profile in enumerate(profiles):
        for c, config in enumerate(configs):
            found = profile.find(config)
            if found is not None and found.heaviest_stage_bytes <= cluster.memory_bytes:
                weight_bytes[p, c] = found.heaviest_stage_bytes
    stage_s = tuple(problem.lanes([config]).latency_s for config in configs)
    latency_s = np.full(weight_bytes.shape, math.inf)
    slowest_s = np.full(weight_bytes.shape, math.inf)
    for c, seconds in enumerate(stage_s):
        held = weight_bytes[:, c] >= 0
        latency_s[held, c] = seconds[held].sum(axis=1) + problem.profiles.request_overhead_s
        slowest_s[held, c] = seconds[held].max(axis=1)
    return Costs(configs, stage_s, latency_s, slowest_s, weight_bytes)


def widened_s(problem: Problem, slo_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """SLOs (num_requests,) with room for what rounding does to clocks and deadlines."""
    return slo_s * (1 + ROUNDING) + ROUNDING * problem.workload.arrival_s


def least_work_s(problem: Problem, costs: Costs) -> NDArray[np.float64]:
    """(num_requests,) device seconds of each request on the cheapest config that is fast enough for
    it, infinite where none is."""
    least_s = np.full(problem.num_requests, math.inf)
    within_s = widened_s(problem, problem.slo_s)
    row = problem.profile_row[problem.workload.model]
    work_s = costs.work_s
    for p in range(len(problem.profile_names)):
        of_profile = np.flatnonzero(row == p)
        order = np.argsort(costs.latency_s[p])
        fastest_first = np.concatenate([[math.inf], np.minimum.accumulate(work_s[p, order])])
        num_fast = np.searchsorted(costs.latency_s[p, order], within_s[of_profile], side="right")
        least_s[of_profile] = fastest_first[num_fast]
    return least_s
