"""The problem a planner is given: a cluster and the models that share it."""

import math
from dataclasses import dataclass

from services.core.errors import InvalidSpec
from services.core.profile import Profiles


@dataclass(frozen=True, slots=True)
class Cluster:
    """Devices 0 … num_devices - 1, alike; node = id // devices_per_node."""

    num_devices: int
    devices_per_node: int
    memory_bytes: int

    def __post_init__(self) -> None:
        for name in ("num_devices", "devices_per_node", "memory_bytes"):
            value = getattr(self, name)
            if value < 1:
                raise InvalidSpec(f"cluster.{name} must be at least 1, got {value!r}")

    @property
    def num_nodes(self) -> int:
        """The last node may have fewer devices."""
        return -(-self.num_devices // self.devices_per_node)

    def node_of(self, device: int) -> int:
        return device // self.devices_per_node


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A served model, the profile it costs by, and its SLO: absolute, relative or none.

    Its replicas lie only on groups within `nodes`, None being all of them; together they stand on
    `min_nodes` nodes or more.
    """

    name: str
    profile: str
    slo_scale: float | None = None
    slo_s: float | None = None
    nodes: tuple[int, ...] | None = None
    min_nodes: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidSpec("a model needs a name")
        self._check_slo()
        self._check_nodes()

    def _check_slo(self) -> None:
        if self.slo_scale is not None and self.slo_s is not None:
            raise InvalidSpec(f"model {self.name!r} has both slo_scale and slo_s")
        for key in ("slo_scale", "slo_s"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidSpec(f"model {self.name!r}: {key} must be positive, got {value!r}")

    def _check_nodes(self) -> None:
        if self.min_nodes < 1:
            raise InvalidSpec(f"model {self.name!r}: min_nodes must be at least 1, got {self.min_nodes}")
        if self.nodes is None:
            return
        if not self.nodes:
            raise InvalidSpec(f"model {self.name!r}: nodes is empty; leave it out to allow all")
        for node in self.nodes:
            if node < 0 or self.nodes.count(node) > 1:
                fault = "is negative" if node < 0 else "is listed twice"
                raise InvalidSpec(f"model {self.name!r}: node {node} {fault}")
        if self.min_nodes > len(self.nodes):
            raise InvalidSpec(f"model {self.name!r}: min_nodes is {self.min_nodes}, its nodes are {self.nodes}")

    def allows(self, node: int) -> bool:
        """Whether a group on this node may hold the model."""
        return self.nodes is None or node in self.nodes

    def slo(self, profiles: Profiles) -> float:
        """The SLO in seconds, infinite where the model has none."""
        if self.slo_s is not None:
            return self.slo_s
        if self.slo_scale is None:
            return math.inf
        return self.slo_scale * profiles[self.profile].single_device_latency_s()


@dataclass(frozen=True, slots=True)
class Spec:
    """A cluster and its models; their order is the order of every per-model array."""

    cluster: Cluster
    models: tuple[ModelSpec, ...]

    def __post_init__(self) -> None:
        if not self.models:
            raise InvalidSpec("a spec needs at least one model")
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1:
                raise InvalidSpec(f"model {name!r} is listed twice")
        for model in self.models:
            self._check_nodes(model)

    def _check_nodes(self, model: ModelSpec) -> None:
        num_nodes = self.cluster.num_nodes
        for node in model.nodes or ():
            if node >= num_nodes:
                raise InvalidSpec(f"model {model.name!r}: there is no node {node}, the cluster has {num_nodes}")
        if model.min_nodes > num_nodes:
            raise InvalidSpec(f"model {model.name!r}: min_nodes is {model.min_nodes}, the cluster has {num_nodes}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    def model(self, name: str) -> ModelSpec:
        for model in self.models:
            if model.name == name:
                return model
        raise InvalidSpec(f"the spec has no model {name!r}")
