"""What a caller orders: a model, what to profile of it, and for which devices."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from services.core.errors import InvalidArgument, InvalidModel
from services.core.factoring import candidate_configs
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import ParallelConfig
from services.core.spec import Cluster


@dataclass(frozen=True, slots=True)
class Order:
    """Empty configs mean all that a group of the cluster may have, of `num_devices` (0: the profiler's own). With a
    `device_kind` everything is estimated for devices of that kind. `num_repeats` 0 means the profiler's default.

    Raises: InvalidModel for a model without a source; InvalidArgument for a batch size below 1.
    """

    model: RegisteredModel
    configs: tuple[ParallelConfig, ...] = ()
    batch_sizes: tuple[int, ...] = (1,)
    num_repeats: int = 0
    num_devices: int = 0
    device_kind: str = ""
    is_afresh: bool = False

    def __post_init__(self) -> None:
        _ = self.source
        for batch_size in self.batch_sizes:
            if batch_size < 1:
                raise InvalidArgument(f"batch sizes must be at least 1, got {batch_size}")

    @property
    def source(self) -> ModelSource:
        if self.model.source is None:
            raise InvalidModel(f"model {self.model.name!r} has no source to measure")
        return self.model.source

    def configs_on(self, cluster: Cluster) -> tuple[ParallelConfig, ...]:
        """Those to profile, smallest groups first. Raises: InvalidArgument for one that the cluster cannot hold."""
        for config in self.configs:
            if config.num_devices > cluster.num_devices:
                raise InvalidArgument(f"config {config} needs more than the {cluster.num_devices} devices here")
        asked = dict.fromkeys(self.configs or candidate_configs(cluster))
        return tuple(sorted(asked, key=lambda config: (config.num_devices, config.intra_op)))


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the measurements follow from beside the order: devices, programs and how often they run."""

    device_kind: str
    num_devices: int
    versions: Mapping[str, str]
    num_warmups: int
    num_repeats: int


def fingerprint(source: ModelSource, conditions: Conditions) -> str:
    """A name for all measurements that may stand for each other."""
    facts = json.dumps([asdict(source), asdict(conditions)], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()
