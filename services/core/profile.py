"""Profiles: what a model costs under each parallel config and batch size (AlpaServe, section 4.1)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from services.core.device import DeviceCosts
from services.core.errors import InvalidProfile, UnknownProfile


@dataclass(frozen=True, slots=True, order=True)
class ParallelConfig:
    """`inter_op` pipeline stages, each on `intra_op` devices."""

    inter_op: int
    intra_op: int

    def __post_init__(self) -> None:
        if self.inter_op < 1 or self.intra_op < 1:
            raise InvalidProfile(f"parallel config {self} needs at least one stage and one device")

    @property
    def num_devices(self) -> int:
        return self.inter_op * self.intra_op

    def __str__(self) -> str:
        return f"{self.inter_op}x{self.intra_op}"


@dataclass(frozen=True, slots=True)
class StageProfile:
    """One measurement or estimate: seconds and bytes per stage, `inter_op` of each.

    `stage_weight_bytes` and `stage_activation_bytes` are per device; `source` tells how the
    figures were had: measured, published, estimated or imported. Stage k holds the layers
    boundaries[k] … boundaries[k + 1] - 1; without boundaries the cut is not known.
    """

    config: ParallelConfig
    batch_size: int
    stage_latency_s: tuple[float, ...]
    stage_weight_bytes: tuple[int, ...]
    stage_activation_bytes: tuple[int, ...] = ()
    source: str = "measured"
    note: str = ""
    boundaries: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        where = f"profile {self.config} batch {self.batch_size}"
        if self.batch_size < 1:
            raise InvalidProfile(f"{where}: batch_size must be at least 1")
        if len(self.stage_latency_s) != self.config.inter_op:
            raise InvalidProfile(f"{where}: {len(self.stage_latency_s)} stage latencies")
        if len(self.stage_weight_bytes) != self.config.inter_op:
            raise InvalidProfile(f"{where}: {len(self.stage_weight_bytes)} stage weights")
        if len(self.stage_activation_bytes) not in (0, self.config.inter_op):
            raise InvalidProfile(f"{where}: {len(self.stage_activation_bytes)} stage activations")
        if len(self.boundaries) not in (0, self.config.inter_op + 1):
            raise InvalidProfile(f"{where}: {len(self.boundaries)} boundaries")
        for latency in self.stage_latency_s:
            if not (math.isfinite(latency) and latency >= 0):
                raise InvalidProfile(f"{where}: stage latency {latency!r} is not a duration")
        for weight in (*self.stage_weight_bytes, *self.stage_activation_bytes):
            if weight < 0:
                raise InvalidProfile(f"{where}: {weight!r} bytes")

    @property
    def latency_s(self) -> float:
        """Of one execution by itself."""
        return sum(self.stage_latency_s)

    @property
    def heaviest_stage_bytes(self) -> int:
        """What one device must hold: the memory rule counts the heaviest stage's weights."""
        return max(self.stage_weight_bytes)


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """All that is known of one model's cost; at most one entry per config and batch size.

    `request_overhead_s` and `costs` are the model's own where they are not those of its set.
    """

    name: str
    stages: tuple[StageProfile, ...]
    reference_latency_s: float | None = None
    request_overhead_s: float | None = None
    costs: DeviceCosts | None = None

    def __post_init__(self) -> None:
        _check_factor(f"request_overhead_s of profile {self.name!r}", self.request_overhead_s or 0.0)
        keys = [(stage.config, stage.batch_size) for stage in self.stages]
        for config, batch_size in keys:
            if keys.count((config, batch_size)) > 1:
                raise InvalidProfile(f"profile {self.name!r} has {config} batch {batch_size} twice")

    def find(self, config: ParallelConfig, batch_size: int = 1) -> StageProfile | None:
        for stage in self.stages:
            if stage.config == config and stage.batch_size == batch_size:
                return stage
        return None

    def at(self, config: ParallelConfig, batch_size: int = 1) -> StageProfile:
        """Raises: UnknownProfile, naming what is missing; nothing is interpolated."""
        found = self.find(config, batch_size)
        if found is None:
            raise UnknownProfile(f"profile {self.name!r} has no config {config} at batch size {batch_size}")
        return found

    def batch_sizes(self, config: ParallelConfig) -> tuple[int, ...]:
        """What was profiled under a config, ascending."""
        return tuple(sorted(stage.batch_size for stage in self.stages if stage.config == config))

    @property
    def configs(self) -> tuple[ParallelConfig, ...]:
        return tuple(sorted({stage.config for stage in self.stages if stage.batch_size == 1}))

    def single_device_latency_s(self) -> float:
        """What SLO scales multiply: the 1x1 batch-1 stage sum, else `reference_latency_s`.

        Raises: InvalidProfile where the profile has neither.
        """
        alone = self.find(ParallelConfig(1, 1))
        if alone is not None:
            return alone.latency_s
        if self.reference_latency_s is None:
            raise InvalidProfile(f"profile {self.name!r} has neither a 1x1 entry nor reference_latency_s")
        return self.reference_latency_s


@dataclass(frozen=True, slots=True)
class Device:
    """What the profiles were measured on. From `costs` follows how a stage is sharded over its devices."""

    kind: str = ""
    memory_bytes: int = 0
    devices_per_node: int = 0
    costs: DeviceCosts | None = None


@dataclass(frozen=True, slots=True)
class Profiles(Mapping[str, ModelProfile]):
    """Model profiles by name, with the overheads that all of them share.

    `request_overhead_s` is added once after the last stage and occupies no stage: the largest of its
    models', where these have their own. Every stage
    latency is multiplied by 1 + `stage_latency_factor_per_stage` · inter_op.
    """

    models: Mapping[str, ModelProfile]
    device: Device = field(default_factory=Device)
    request_overhead_s: float = 0.0
    stage_latency_factor_per_stage: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        _check_factor("request_overhead_s", self.request_overhead_s)
        _check_factor("stage_latency_factor_per_stage", self.stage_latency_factor_per_stage)

    def __getitem__(self, name: str) -> ModelProfile:
        found = self.models.get(name)
        if found is None:
            raise UnknownProfile(f"no profile {name!r}; there are: {', '.join(sorted(self.models)) or 'none'}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    def within(self, num_devices: int) -> "Profiles":
        """The same without the configs that need more devices."""
        models = {
            name: replace(model, stages=tuple(s for s in model.stages if s.config.num_devices <= num_devices))
            for name, model in self.models.items()
        }
        return replace(self, models=models)

    def stage_latency_s(self, name: str, config: ParallelConfig, batch_size: int = 1) -> tuple[float, ...]:
        """What a request costs in every stage, the factor included."""
        factor = 1 + self.stage_latency_factor_per_stage * config.inter_op
        return tuple(latency * factor for latency in self[name].at(config, batch_size).stage_latency_s)

    def overhead_s(self, name: str) -> float:
        """What a request of this model takes beside the stages."""
        own = self[name].request_overhead_s
        return self.request_overhead_s if own is None else own

    def costs_of(self, name: str) -> DeviceCosts | None:
        """The device costs that this model's stages were sharded by."""
        return self[name].costs or self.device.costs


def _check_factor(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidProfile(f"{name} must be finite and not negative, got {value!r}")
