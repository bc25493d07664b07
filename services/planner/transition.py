"""From what runs to what shall run: which groups stay, what is loaded and unloaded, and in which order.

Pure data. A transition is a row of phases, each of which loads, then switches routing, then drains
and unloads. What fits is loaded before anything goes; where memory is tight, replicas whose model
stays reachable elsewhere make room first, also such as come back later, and only then the last ones
of a model.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from services.core.deployment import DeployedGroup, Deployment
from services.core.placement import Placement
from services.core.profile import ParallelConfig

HeaviestStage = Callable[[str, ParallelConfig], int]
Load = tuple[int, str]


@dataclass(frozen=True, slots=True, order=True)
class ReplicaRef:
    """A model on a running group."""

    group: str
    model: str


@dataclass(frozen=True, slots=True)
class Phase:
    """Load (target index, model) pairs, switch routing, then unload."""

    loads: tuple[Load, ...]
    unloads: tuple[ReplicaRef, ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """What changes. `kept` pairs each target index with the running group of the same shape;
    `interrupted` are the models of both placements that no group holds for a while."""

    kept: Mapping[int, DeployedGroup]
    formed: tuple[int, ...]
    dissolved: tuple[DeployedGroup, ...]
    phases: tuple[Phase, ...]
    interrupted: tuple[str, ...]

    @property
    def loads(self) -> tuple[Load, ...]:
        return tuple(load for phase in self.phases for load in phase.loads)

    @property
    def unloads(self) -> tuple[ReplicaRef, ...]:
        return tuple(ref for phase in self.phases for ref in phase.unloads)


def plan_transition(running: Deployment, target: Placement, heaviest: HeaviestStage, memory_bytes: int) -> Transition:
    """The transition from `running` to `target` on devices of `memory_bytes` each."""
    by_shape = {group.shape: group for group in running.groups}
    kept = {
        index: by_shape[group.config, group.devices]
        for index, group in enumerate(target.groups)
        if (group.config, group.devices) in by_shape
    }
    names = {group.name for group in kept.values()}
    phasing = Phasing(running, target, kept, DeviceLoad(heaviest, memory_bytes))
    return Transition(
        kept=kept,
        formed=tuple(index for index in range(len(target.groups)) if index not in kept),
        dissolved=tuple(group for group in running.groups if group.name not in names),
        phases=tuple(phasing.phases()),
        interrupted=tuple(sorted(phasing.interrupted)),
    )


class DeviceLoad:
    """Weight bytes by device while a transition goes on."""

    def __init__(self, heaviest: HeaviestStage, memory_bytes: int) -> None:
        self._heaviest = heaviest
        self._memory_bytes = memory_bytes
        self._used: Counter[int] = Counter()

    def add(self, model: str, config: ParallelConfig, devices: Iterable[int], sign: int = 1) -> None:
        for device in devices:
            self._used[device] += sign * self._heaviest(model, config)

    def fits(self, model: str, config: ParallelConfig, devices: Iterable[int]) -> bool:
        return not self.tight(model, config, devices)

    def tight(self, model: str, config: ParallelConfig, devices: Iterable[int]) -> set[int]:
        """The devices that have no room for the model."""
        needed = self._heaviest(model, config)
        return {device for device in devices if self._used[device] + needed > self._memory_bytes}


class Phasing:
    """Orders a transition's loads and unloads."""

    def __init__(
        self, running: Deployment, target: Placement, kept: Mapping[int, DeployedGroup], load: DeviceLoad
    ) -> None:
        self._target = target
        self._load = load
        self._groups = {group.name: group for group in running.groups}
        self._replicas = Counter(model for group in running.groups for model in group.replicas)
        self._wanted = {model for group in target.groups for model in group.models}
        self._loads = [
            (index, model)
            for index, group in enumerate(target.groups)
            for model in group.models
            if index not in kept or model not in kept[index].replicas
        ]
        self._index_of = {group.name: index for index, group in kept.items()}
        refs = sorted(ReplicaRef(group.name, model) for group in running.groups for model in group.replicas)
        self._unloads = [ref for ref in refs if not self._stays(ref)]
        self._lendable = [ref for ref in refs if self._stays(ref)]
        self.interrupted: set[str] = set()
        for group in running.groups:
            for model in group.replicas:
                load.add(model, group.config, group.devices)

    def phases(self) -> list[Phase]:
        """Until nothing is left; the last phase unloads what no load had to wait for."""
        phases = []
        while self._loads:
            loads = self._take_fitting()
            unloads = self._make_room() if self._loads else self._rest()
            phases.append(Phase(tuple(loads), tuple(unloads)))
        if self._unloads:
            phases.append(Phase((), tuple(self._rest())))
        return phases

    def _take_fitting(self) -> list[Load]:
        taken = []
        for index, model in list(self._loads):
            group = self._target.groups[index]
            if self._load.fits(model, group.config, group.devices):
                self._load.add(model, group.config, group.devices)
                self._replicas[model] += 1
                self._loads.remove((index, model))
                taken.append((index, model))
        return taken

    def _make_room(self) -> list[ReplicaRef]:
        """Unload until one of the blocked models fits: what costs least first."""
        index, model = min(self._loads, key=lambda load: self._loss(self._cheapest(load)))
        gone = []
        while self._tight((index, model)):
            gone.append(self._unload(self._cheapest((index, model))))
        return gone

    def _tight(self, load: Load) -> set[int]:
        group = self._target.groups[load[0]]
        return self._load.tight(load[1], group.config, group.devices)

    def _cheapest(self, blocked: Load) -> ReplicaRef:
        """The replica to give up for a blocked load."""
        tight = self._tight(blocked)
        candidates = [ref for ref in self._unloads if tight.intersection(self._groups[ref.group].devices)]
        candidates += [
            ref
            for ref in self._lendable
            if self._replicas[ref.model] > 1 and tight.intersection(self._groups[ref.group].devices)
        ]
        return min(candidates, key=self._loss)

    def _stays(self, ref: ReplicaRef) -> bool:
        index = self._index_of.get(ref.group)
        return index is not None and ref.model in self._target.groups[index].models

    def _rest(self) -> list[ReplicaRef]:
        return [self._unload(ref) for ref in list(self._unloads)]

    def _loss(self, ref: ReplicaRef) -> tuple[bool, bool, int, ReplicaRef]:
        """What goes with a replica: its model, if the target wants it and nobody else holds it; or the
        time to load it again, if it only lends its room."""
        is_last = self._replicas[ref.model] == 1 and ref.model in self._wanted
        return is_last, self._stays(ref), -self._replicas[ref.model], ref

    def _unload(self, ref: ReplicaRef) -> ReplicaRef:
        group = self._groups[ref.group]
        self._load.add(ref.model, group.config, group.devices, sign=-1)
        self._replicas[ref.model] -= 1
        if self._stays(ref):
            self._lendable.remove(ref)
            self._loads.append((self._index_of[ref.group], ref.model))
        else:
            self._unloads.remove(ref)
        if not self._replicas[ref.model] and ref.model in self._wanted:
            self.interrupted.add(ref.model)
        return ref
