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

    def node_of(self, device: int) -> int:
        return device // self.devices_per_node


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A served model, the profile it costs by, and its SLO: absolute, relative or none."""

    name: str
    profile: str
    slo_scale: float | None = None
    slo_s: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidSpec("a model needs a name")
        if self.slo_scale is not None and self.slo_s is not None:
            raise InvalidSpec(f"model {self.name!r} has both slo_scale and slo_s")
        for key in ("slo_scale", "slo_s"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidSpec(f"model {self.name!r}: {key} must be positive, got {value!r}")

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

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    def model(self, name: str) -> ModelSpec:
        for model in self.models:
            if model.name == name:
                return model
        raise InvalidSpec(f"the spec has no model {name!r}")
