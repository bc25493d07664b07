"""A placement as it runs: named groups on workers, with all that a router needs to serve it.

One record, so that a router that cannot reach the store goes on with the last one it saw.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.placement import DEFAULT_DISPATCH, Group, Placement
from services.core.profile import ParallelConfig
from services.core.schedule import DISPATCH_RULES


@dataclass(frozen=True, slots=True)
class DeployedGroup:
    """A group under its running name. `replicas` maps each model it holds to its stage latencies
    in seconds, overhead factor included; `devices` are global ids."""

    name: str
    config: ParallelConfig
    devices: tuple[int, ...]
    worker: str
    address: str
    replicas: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(cls, name: str, group: Group) -> "DeployedGroup":
        """As if it ran, on no worker."""
        return cls(name, group.config, group.devices, "", "", dict.fromkeys(group.models, ()))

    @property
    def shape(self) -> tuple[ParallelConfig, tuple[int, ...]]:
        """What makes two groups of different placements the same one."""
        return self.config, self.devices


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """What a router must know of a registered model. `slo_s` None means no SLO."""

    slo_s: float | None = None
    idempotent: bool = True

    @property
    def allowed_s(self) -> float:
        return math.inf if self.slo_s is None else self.slo_s


@dataclass(frozen=True, slots=True)
class Deployment:
    """The running placement; version 0 is the empty one before any plan. One that is not settled belongs
    to a transition under way: groups that come and groups that go may share devices, and models that no group
    holds should be back `returning_s` seconds after this version came. A group serves up to `max_batch_size` requests
    of a model at once."""

    version: int = 0
    groups: tuple[DeployedGroup, ...] = ()
    models: Mapping[str, DeployedModel] = field(default_factory=dict)
    request_overhead_s: float = 0.0
    dispatch: str = DEFAULT_DISPATCH
    policy: str = ""
    created_at_s: float = 0.0
    is_settled: bool = True
    max_batch_size: int = 1
    returning_s: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, placement: Placement) -> "Deployment":
        """As if it ran, on no worker, its groups named by their numbers."""
        return cls(groups=tuple(DeployedGroup.of(str(index), group) for index, group in enumerate(placement.groups)))

    @property
    def dispatch_rule(self) -> int:
        return DISPATCH_RULES.index(self.dispatch)

    def placement(self) -> Placement:
        """Raises: InvalidPlacement for one that is not settled and shares devices."""
        return Placement(
            tuple(Group(group.config, group.devices, tuple(group.replicas)) for group in self.groups),
            self.dispatch,
            self.max_batch_size,
        )
