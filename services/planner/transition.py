"""From what runs to what shall run: which groups stay, what is loaded and unloaded, and in which order.

Pure data. Loads come before the switch where memory allows; otherwise as few replicas as possible
go first, those of models that stay reachable elsewhere before others.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from services.core.deployment import DeployedGroup, Deployment
from services.core.placement import Placement
from services.core.profile import ParallelConfig

HeaviestStage = Callable[[str, ParallelConfig], int]


@dataclass(frozen=True, slots=True, order=True)
class ReplicaRef:
    """A model on a running group."""

    group: str
    model: str


@dataclass(frozen=True, slots=True)
class Transition:
    """What changes. `kept` pairs each target index with the running group of the same shape;
    `loads` pairs a target index with a model; `early` are the replicas that must go before the
    loads fit; `interrupted` are the models that no group holds meanwhile."""

    kept: Mapping[int, DeployedGroup]
    formed: tuple[int, ...]
    dissolved: tuple[DeployedGroup, ...]
    loads: tuple[tuple[int, str], ...]
    unloads: tuple[ReplicaRef, ...]
    early: frozenset[ReplicaRef]
    interrupted: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.formed or self.dissolved or self.loads or self.unloads)


def plan_transition(running: Deployment, target: Placement, heaviest: HeaviestStage, memory_bytes: int) -> Transition:
    """The transition from `running` to `target` on devices of `memory_bytes` each."""
    by_shape = {group.shape: group for group in running.groups}
    kept = {
        index: by_shape[group.config, group.devices]
        for index, group in enumerate(target.groups)
        if (group.config, group.devices) in by_shape
    }
    formed = tuple(index for index in range(len(target.groups)) if index not in kept)
    names = {group.name for group in kept.values()}
    dissolved = tuple(group for group in running.groups if group.name not in names)
    loads = tuple(
        (index, model)
        for index, group in enumerate(target.groups)
        for model in group.models
        if index not in kept or model not in kept[index].replicas
    )
    unloads = tuple(removed_replicas(kept, dissolved, target))
    early = early_unloads(running, target, loads, unloads, DeviceLoad(heaviest, memory_bytes))
    return Transition(kept, formed, dissolved, loads, unloads, early, interrupted_models(running, target, early))


def removed_replicas(
    kept: Mapping[int, DeployedGroup], dissolved: tuple[DeployedGroup, ...], target: Placement
) -> list[ReplicaRef]:
    removed = [
        ReplicaRef(group.name, model)
        for index, group in kept.items()
        for model in group.replicas
        if model not in target.groups[index].models
    ]
    removed += [ReplicaRef(group.name, model) for group in dissolved for model in group.replicas]
    return sorted(removed)


class DeviceLoad:
    """Weight bytes by device while a transition goes on."""

    def __init__(self, heaviest: HeaviestStage, memory_bytes: int) -> None:
        self._heaviest = heaviest
        self._memory_bytes = memory_bytes
        self._used: Counter[int] = Counter()

    def add(self, model: str, config: ParallelConfig, devices: Iterable[int], sign: int = 1) -> None:
        for device in devices:
            self._used[device] += sign * self._heaviest(model, config)

    def relief(self, model: str, group: DeployedGroup) -> int:
        """Bytes that a device holds too much of and that go with this replica."""
        over = [device for device in group.devices if self._used[device] > self._memory_bytes]
        return len(over) * self._heaviest(model, group.config)


def early_unloads(
    running: Deployment,
    target: Placement,
    loads: tuple[tuple[int, str], ...],
    unloads: tuple[ReplicaRef, ...],
    load: DeviceLoad,
) -> frozenset[ReplicaRef]:
    """The replicas that must go before the loads fit."""
    groups = {group.name: group for group in running.groups}
    for group in running.groups:
        for model in group.replicas:
            load.add(model, group.config, group.devices)
    for index, model in loads:
        load.add(model, target.groups[index].config, target.groups[index].devices)
    replicas = Counter(model for group in running.groups for model in group.replicas)
    waiting = set(unloads)
    while True:
        relief = {ref: load.relief(ref.model, groups[ref.group]) for ref in waiting}
        candidates = [(replicas[ref.model] == 1, -relieved, ref) for ref, relieved in relief.items() if relieved]
        if not candidates:
            return frozenset(unloads) - waiting
        *_, chosen = min(candidates)
        waiting.remove(chosen)
        replicas[chosen.model] -= 1
        load.add(chosen.model, groups[chosen.group].config, groups[chosen.group].devices, sign=-1)


def interrupted_models(running: Deployment, target: Placement, early: frozenset[ReplicaRef]) -> tuple[str, ...]:
    """Models of the target that run now and are on no group while the loads go on."""
    meanwhile = {
        model for group in running.groups for model in group.replicas if ReplicaRef(group.name, model) not in early
    }
    now = {model for group in running.groups for model in group.replicas}
    wanted = {model for group in target.groups for model in group.models}
    return tuple(sorted((now & wanted) - meanwhile))
