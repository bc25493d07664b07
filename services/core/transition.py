"""From what runs to what shall run, as pure data: which groups stay, what is loaded and unloaded, and how far that is.

A transition is a row of phases, each of which forms groups and loads, then switches routing, then drains
and unloads. `services.core.phasing` decides their order.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.deployment import DeployedGroup
from services.core.placement import Placement

Load = tuple[int, str]


@dataclass(frozen=True, slots=True)
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

    running: tuple[DeployedGroup, ...]
    target: Placement
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


@dataclass(slots=True, eq=False)
class Standing:
    """A transition as far as it is carried out: what routers may use after a switch."""

    transition: Transition
    loaded: set[Load] = field(default_factory=set)
    removed: set[ReplicaRef] = field(default_factory=set)

    def hosted(self, is_last: bool) -> list[tuple[int | str, tuple[str, ...]]]:
        """The models of each group: the target's, by index, as far as they run, then those that are to go, by name."""
        transition = self.transition
        there = set(transition.kept) | {index for index, _ in self.loaded}
        groups: list[tuple[int | str, tuple[str, ...]]] = [(index, self._at(index)) for index in sorted(there)]
        return groups if is_last else groups + [(gone.name, self._kept(gone)) for gone in transition.dissolved]

    def num_replicas(self, is_last: bool) -> Counter[str]:
        """How many groups hold each model."""
        return Counter(model for _, models in self.hosted(is_last) for model in models)

    def _at(self, index: int) -> tuple[str, ...]:
        group, wanted = self.transition.kept.get(index), self.transition.target.groups[index].models
        kept = () if group is None else self._kept(group)
        held = tuple(model for model in wanted if model in kept or (index, model) in self.loaded)
        return held + tuple(model for model in kept if model not in held)

    def _kept(self, group: DeployedGroup) -> tuple[str, ...]:
        return tuple(model for model in group.replicas if ReplicaRef(group.name, model) not in self.removed)
