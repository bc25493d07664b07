"""What is simulated and planned: models with their costs and SLOs, a cluster, and a workload.

The tables are built once; a placement then becomes the simulator's flat arrays in microseconds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload
from services.core.kernel import Layout, Requests
from services.core.placement import Placement, check_placement
from services.core.profile import ParallelConfig, Profiles
from services.core.spec import Spec
from services.core.workload import Workload

_ScalarT = TypeVar("_ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Lanes:
    """The stages of a row of groups, flat: everything of a `Layout` that replicas do not change.

    `first_stage` (num_groups + 1,), `latency_s` (num_profiles, num_stages), NaN where unavailable.
    """

    configs: tuple[ParallelConfig, ...]
    first_stage: NDArray[np.int32]
    latency_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A spec, its profiles and a workload over exactly the spec's models; see `pose`.

    `model_slo_s` (num_models,) and `slo_s` (num_requests,) are infinite where there is no SLO;
    `profile_row` (num_models,) indexes `profile_names`.
    """

    spec: Spec
    profiles: Profiles
    workload: Workload
    requests: Requests
    model_slo_s: NDArray[np.float64]
    profile_names: tuple[str, ...]
    profile_row: NDArray[np.int32]
    _latency_of: dict[ParallelConfig, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @property
    def num_models(self) -> int:
        return len(self.spec.models)

    @property
    def num_requests(self) -> int:
        return len(self.workload)

    @property
    def slo_s(self) -> NDArray[np.float64]:
        return self.requests.slo_s

    def restricted(self, names: Iterable[str]) -> "Problem":
        """The same models, but only the requests of these."""
        return _posed(self.spec, self.profiles, self.workload.restricted(names))

    def lanes(self, configs: Sequence[ParallelConfig]) -> Lanes:
        """Stages and costs of groups of these configs, in this order."""
        first_stage = np.zeros(len(configs) + 1, dtype=np.int32)
        np.cumsum([config.inter_op for config in configs], out=first_stage[1:])
        rows = [self._latency(config) for config in configs]
        latency_s = np.concatenate(rows, axis=1) if rows else np.empty((len(self.profile_names), 0))
        return Lanes(tuple(configs), first_stage, np.ascontiguousarray(latency_s))

    def layout(self, lanes: Lanes, replicas: NDArray[np.bool_]) -> Layout:
        """Flat arrays of the placement that `replicas` (num_models, num_groups) describes."""
        first_host = np.zeros(self.num_models + 1, dtype=np.int32)
        np.cumsum(np.count_nonzero(replicas, axis=1), out=first_host[1:])
        host = np.nonzero(replicas)[1].astype(np.int32)
        overhead_s = float(self.profiles.request_overhead_s)
        return Layout(lanes.first_stage, first_host, host, self.profile_row, lanes.latency_s, overhead_s)

    def placement_layout(self, placement: Placement) -> Layout:
        """Raises: InvalidPlacement, UnknownProfile or DoesNotFit if the placement cannot be."""
        check_placement(placement, self.spec, self.profiles)
        lanes = self.lanes([group.config for group in placement.groups])
        replicas = np.zeros((self.num_models, len(placement.groups)), dtype=np.bool_)
        index_of = {name: i for i, name in enumerate(self.spec.names)}
        for g, group in enumerate(placement.groups):
            replicas[[index_of[name] for name in group.models], g] = True
        return self.layout(lanes, replicas)

    def _latency(self, config: ParallelConfig) -> NDArray[np.float64]:
        """(num_profiles, inter_op) in seconds, factor included; NaN rows where unavailable."""
        found = self._latency_of.get(config)
        if found is None:
            found = np.full((len(self.profile_names), config.inter_op), math.nan)
            for row, name in enumerate(self.profile_names):
                if self.profiles[name].find(config) is not None:
                    found[row] = self.profiles.stage_latency_s(name, config)
            self._latency_of[config] = found
        return found


def pose(spec: Spec, profiles: Profiles, workload: Workload) -> Problem:
    """Hold the inputs against each other and build the tables.

    Raises: InvalidWorkload without requests or for a model that the spec lacks, UnknownProfile,
    InvalidProfile for an SLO scale without a reference latency.
    """
    if not len(workload):
        raise InvalidWorkload("the workload has no requests")
    return _posed(spec, profiles, workload.aligned(spec.names))


def _posed(spec: Spec, profiles: Profiles, workload: Workload) -> Problem:
    profile_names = tuple(dict.fromkeys(profiles[model.profile].name for model in spec.models))
    row_of = {name: row for row, name in enumerate(profile_names)}
    model_slo_s = np.array([model.slo(profiles) for model in spec.models], dtype=np.float64)
    slo_s = np.where(np.isnan(workload.slo_s), model_slo_s[workload.model], workload.slo_s)
    return Problem(
        spec=spec,
        profiles=profiles,
        workload=workload,
        requests=Requests(
            _plain(workload.arrival_s, np.float64), _plain(workload.model, np.int32), _plain(slo_s, np.float64)
        ),
        model_slo_s=model_slo_s,
        profile_names=profile_names,
        profile_row=np.array([row_of[model.profile] for model in spec.models], dtype=np.int32),
    )


def _plain(column: NDArray[Any], dtype: type[_ScalarT]) -> NDArray[_ScalarT]:
    """Writable and contiguous: the simulator would be compiled again for anything else."""
    return np.require(column, dtype=dtype, requirements=["C", "W"])
