"""The order in which a transition loads and unloads.

What fits is loaded before anything goes. Where memory is tight, replicas whose model stays reachable elsewhere make
room first, on many devices at once as long as every model keeps half of its replicas, also such as come back later;
and only then the last ones of a model: of the least asked first, and those are loaded again before all else.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from services.core.deployment import DeployedGroup, Deployment
from services.core.placement import Placement
from services.core.profile import ParallelConfig
from services.core.transition import Load, Phase, ReplicaRef, Transition

HeaviestStage = Callable[[str, ParallelConfig], int]
Rates = Mapping[str, float]
# The traffic of the last minute decides which models wait where memory is tight.
RATES_OVER_S = 60


def plan_transition(
    running: Deployment, target: Placement, heaviest: HeaviestStage, memory_bytes: int, rates: Rates | None = None
) -> Transition:
    """The transition from `running` to `target` on devices of `memory_bytes` each. `rates` (requests per second by
    model; None: all alike) decide which models wait where memory is tight."""
    by_shape = {group.shape: group for group in running.groups}
    kept = {
        index: by_shape[group.config, group.devices]
        for index, group in enumerate(target.groups)
        if (group.config, group.devices) in by_shape
    }
    names = {group.name for group in kept.values()}
    phasing = Phasing(running, target, kept, DeviceLoad(heaviest, memory_bytes), rates)
    return Transition(
        running=running.groups,
        target=target,
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

    def tight(self, model: str, config: ParallelConfig, devices: Iterable[int]) -> set[int]:
        """The devices that have no room for the model."""
        needed = self._heaviest(model, config)
        return {device for device in devices if self._used[device] + needed > self._memory_bytes}


class Phasing:
    """Orders a transition's loads and unloads."""

    def __init__(
        self,
        running: Deployment,
        target: Placement,
        kept: Mapping[int, DeployedGroup],
        load: DeviceLoad,
        rates: Rates | None,
    ) -> None:
        self._target = target
        self._load = load
        self._rates = rates
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
        refs = [ReplicaRef(group.name, model) for group in running.groups for model in group.replicas]
        self._order = {ref: position for position, ref in enumerate(refs)}
        self._unloads = dict.fromkeys(ref for ref in refs if not self._stays(ref))
        self._lent: set[Load] = set()
        self._on: dict[int, set[ReplicaRef]] = defaultdict(set)
        self.interrupted: set[str] = set()
        for ref in refs:
            group = self._groups[ref.group]
            load.add(ref.model, group.config, group.devices)
            for device in group.devices:
                self._on[device].add(ref)

    def phases(self) -> list[Phase]:
        """Until nothing is left; the last phase unloads what no load had to wait for."""
        phases = []
        while self._loads:
            loads = self._take_fitting(urgent=True) or self._take_fitting(urgent=False)
            phases.append(Phase(tuple(loads), tuple(self._unloads_after())))
        if self._unloads:
            phases.append(Phase((), tuple(self._rest())))
        return phases

    def _take_fitting(self, urgent: bool) -> list[Load]:
        """What fits of all loads, the most needed first; if urgent, of models that are down only."""
        taken = []
        for load in sorted(self._loads, key=self._need, reverse=True):
            if (self._is_down(load[1]) or not urgent) and not self._tight(load):
                taken.append(load)
                self._weigh(load, sign=1)
                self._loads.remove(load)
        self._replicas.update(model for _, model in taken)
        return taken

    def _need(self, load: Load) -> tuple[bool, bool, float]:
        """Models that are down come first, what lent its room last, else what is asked most for each replica."""
        rate = 0.0 if self._rates is None else self._rate(load[1]) / (1 + self._replicas[load[1]])
        return self._is_down(load[1]), load not in self._lent, rate

    def _is_down(self, model: str) -> bool:
        return model in self.interrupted and not self._replicas[model]

    def _rate(self, model: str) -> float:
        return 1.0 if self._rates is None else self._rates.get(model, 0.0)

    def _unloads_after(self) -> list[ReplicaRef]:
        if not self._loads:
            return self._rest()
        return self._make_room() if all(map(self._tight, self._loads)) else []

    def _make_room(self) -> list[ReplicaRef]:
        """Unload until the blocked model fits that costs least, and on other devices others that cost little."""
        first, *others = sorted(self._loads, key=lambda load: self._loss(self._cheapest(load)))
        spare = Counter({model: num_replicas // 2 for model, num_replicas in self._replicas.items()})
        gone = []
        while self._tight(first):
            gone.append(self._unload(self._cheapest(first)))
            spare[gone[-1].model] -= 1
        self._weigh(first, sign=1)
        roomy = [first]
        for load in others:
            refs = self._room_for(load, spare)
            if refs is not None:
                gone.extend(map(self._unload, refs))
                spare.subtract(ref.model for ref in refs)
                self._weigh(load, sign=1)
                roomy.append(load)
        for load in roomy:
            self._weigh(load, sign=-1)
        return gone

    def _room_for(self, load: Load, spare: Counter[str]) -> list[ReplicaRef] | None:
        """Replicas that leave for good and are to spare, with whose memory a load fits; None if they do not do."""
        refs: list[ReplicaRef] = []
        left = spare.copy()
        while self._tight(load):
            leaving = (ref for ref in self._candidates(load) if ref in self._unloads and left[ref.model] > 0)
            ref = min(leaving, key=self._loss, default=None)
            if ref is None:
                break
            refs.append(ref)
            left[ref.model] -= 1
            self._free(ref, sign=-1)
        fits = not self._tight(load)
        for ref in refs:
            self._free(ref, sign=1)
        return refs if fits else None

    def _weigh(self, load: Load, sign: int) -> None:
        group = self._target.groups[load[0]]
        self._load.add(load[1], group.config, group.devices, sign)

    def _free(self, ref: ReplicaRef, sign: int) -> None:
        """Take a replica off its devices (-1), or back on them (1)."""
        group = self._groups[ref.group]
        self._load.add(ref.model, group.config, group.devices, sign)
        for device in group.devices:
            (self._on[device].add if sign > 0 else self._on[device].discard)(ref)

    def _tight(self, load: Load) -> set[int]:
        group = self._target.groups[load[0]]
        return self._load.tight(load[1], group.config, group.devices)

    def _candidates(self, blocked: Load) -> set[ReplicaRef]:
        """Replicas on devices that have no room for a load."""
        return {ref for device in self._tight(blocked) for ref in self._on[device]}

    def _cheapest(self, blocked: Load) -> ReplicaRef:
        """The replica to give up for a blocked load: one that leaves, or lends its room as others of its model stay."""
        candidates = self._candidates(blocked)
        return min((ref for ref in candidates if ref in self._unloads or self._replicas[ref.model] > 1), key=self._loss)

    def _stays(self, ref: ReplicaRef) -> bool:
        index = self._index_of.get(ref.group)
        return index is not None and ref.model in self._target.groups[index].models

    def _rest(self) -> list[ReplicaRef]:
        return [self._unload(ref) for ref in list(self._unloads)]

    def _loss(self, ref: ReplicaRef) -> tuple[bool, float, bool, float, int]:
        """What goes with a replica: its model's requests, if the target wants it and nobody else holds it; or the
        time to load it again, if it only lends its room; or its share of what is asked."""
        num_replicas, rate = self._replicas[ref.model], self._rate(ref.model)
        is_last = num_replicas == 1 and ref.model in self._wanted
        lends = ref not in self._unloads
        return is_last, rate if is_last else 0.0, lends, rate / max(num_replicas, 1), self._order[ref]

    def _unload(self, ref: ReplicaRef) -> ReplicaRef:
        self._free(ref, sign=-1)
        self._replicas[ref.model] -= 1
        if ref in self._unloads:
            del self._unloads[ref]
        else:
            load = self._index_of[ref.group], ref.model
            self._loads.append(load)
            self._lent.add(load)
        if not self._replicas[ref.model] and ref.model in self._wanted:
            self.interrupted.add(ref.model)
        return ref
