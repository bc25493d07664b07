"""What going from one placement to another changes: groups, and the replicas of every model.

A group is the same one if it has the same config on the same devices in the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from services.core.placement import Group, Placement
from services.core.profile import ModelProfile, ParallelConfig


@dataclass(frozen=True, slots=True)
class ReplicaChange:
    """Of one model: indices of groups that newly hold it in the later placement, and of groups of the
    earlier one that no longer do."""

    added: tuple[int, ...]
    removed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """`kept` and `formed` as the later placement has them, `dissolved` as the earlier one had them;
    `replicas` of the models that change, in order of appearance."""

    kept: tuple[Group, ...]
    formed: tuple[Group, ...]
    dissolved: tuple[Group, ...]
    replicas: dict[str, ReplicaChange]

    @property
    def num_loads(self) -> int:
        return sum(len(change.added) for change in self.replicas.values())

    @property
    def num_unloads(self) -> int:
        return sum(len(change.removed) for change in self.replicas.values())


def difference(before: Placement, after: Placement) -> Difference:
    """Compare two placements."""
    earlier, later = _by_shape(before), _by_shape(after)
    names = dict.fromkeys(model for group in (*before.groups, *after.groups) for model in group.models)
    changes = {
        name: ReplicaChange(tuple(_gained(after, before, name)), tuple(_gained(before, after, name))) for name in names
    }
    return Difference(
        kept=tuple(group for shape, group in later.items() if shape in earlier),
        formed=tuple(group for shape, group in later.items() if shape not in earlier),
        dissolved=tuple(group for shape, group in earlier.items() if shape not in later),
        replicas={name: change for name, change in changes.items() if change.added or change.removed},
    )


def load_bytes(profile: ModelProfile, config: ParallelConfig) -> int:
    """What a replica weighs over all devices of its group. Raises: UnknownProfile for a config of none."""
    return sum(profile.at(config).stage_weight_bytes) * config.intra_op


def _gained(here: Placement, there: Placement, model: str) -> Iterator[int]:
    """Groups that hold the model here, and that do not there."""
    others = _by_shape(there)
    for index, group in enumerate(here.groups):
        other = others.get((group.config, group.devices))
        if model in group.models and (other is None or model not in other.models):
            yield index


def _by_shape(placement: Placement) -> dict[tuple[ParallelConfig, tuple[int, ...]], Group]:
    return {(group.config, group.devices): group for group in placement.groups}
