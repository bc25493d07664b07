"""One model more in a placement, or one less, and all else where it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.core.errors import DoesNotFit
from services.core.placement import Group, Placement, group_weight_bytes
from services.core.profile import ParallelConfig, Profiles
from services.core.spec import ModelSpec, Spec

Workers = Sequence[Sequence[int]]
"""The devices of each live worker: a group lies within one."""


@dataclass(frozen=True, slots=True)
class Joining:
    """The models that share the devices, the new one included, and what is asked of each (requests per second)."""

    spec: Spec
    profiles: Profiles
    workers: Workers
    rates: Mapping[str, float]

    def joined(self, placement: Placement, name: str) -> Placement:
        """The model on as many groups as reach its `min_nodes`: running ones with room, the least busy first, else
        a new one on free devices. Groups without models make way for that.

        Raises: DoesNotFit with the figures.
        """
        model = self.spec.model(name)
        while True:
            reached = self._nodes(placement, name)
            if len(reached) >= model.min_nodes:
                return placement
            placement = self._on_one_more(placement, model, reached)

    def _on_one_more(self, placement: Placement, model: ModelSpec, reached: set[int]) -> Placement:
        fitting = [group for group in placement.groups if self._takes(group, model, reached)]
        if fitting:
            chosen = min(fitting, key=lambda group: self._cost(placement, group, model))
            larger = replace(chosen, models=(*chosen.models, model.name))
            return replace(placement, groups=tuple(larger if one is chosen else one for one in placement.groups))
        formed = self._formed(placement, model, reached)
        if formed is None:
            raise DoesNotFit(self._figures(placement, model))
        kept = (one for one in placement.groups if one.models or not set(one.devices) & set(formed.devices))
        return replace(placement, groups=(*kept, formed))

    def _takes(self, group: Group, model: ModelSpec, reached: set[int]) -> bool:
        return (
            model.name not in group.models
            and group.config in self.profiles[model.profile].configs
            and any(set(group.devices) <= set(devices) for devices in self.workers)
            and all(self._is_new(device, model, reached) for device in group.devices)
            and self._weight_bytes(model, group.config) <= self._free_bytes(group)
        )

    def _formed(self, placement: Placement, model: ModelSpec, reached: set[int]) -> Group | None:
        """A group of the smallest config that keeps the SLO, on free devices of one worker."""
        taken = {device for group in placement.groups if group.models for device in group.devices}
        configs = (
            config
            for config in self.profiles[model.profile].configs
            if self._weight_bytes(model, config) <= self.spec.cluster.memory_bytes
        )
        free = [
            [device for device in devices if device not in taken and self._is_new(device, model, reached)]
            for devices in self.workers
        ]
        for config in sorted(configs, key=lambda one: (self._is_late(model, one), one.num_devices, one)):
            for devices in free:
                if len(devices) >= config.num_devices:
                    return Group(config, tuple(devices[: config.num_devices]), (model.name,))
        return None

    def _cost(self, placement: Placement, group: Group, model: ModelSpec) -> tuple[bool, float, int]:
        """Whether the SLO is missed, how busy the slowest stage is, and less for more room."""
        busy = sum(
            self.rates.get(name, 0.0) / max(len(placement.hosts(name)), 1) * self._slowest_s(name, group.config)
            for name in (*group.models, model.name)
        )
        return self._is_late(model, group.config), busy, -self._free_bytes(group)

    def _slowest_s(self, name: str, config: ParallelConfig) -> float:
        return max(self.profiles.stage_latency_s(self.spec.model(name).profile, config))

    def _is_late(self, model: ModelSpec, config: ParallelConfig) -> bool:
        latency_s = sum(self.profiles.stage_latency_s(model.profile, config)) + self.profiles.overhead_s(model.profile)
        return latency_s > model.slo(self.profiles)

    def _is_new(self, device: int, model: ModelSpec, reached: set[int]) -> bool:
        node = self.spec.cluster.node_of(device)
        return model.allows(node) and node not in reached

    def _nodes(self, placement: Placement, name: str) -> set[int]:
        groups = (group for group in placement.groups if name in group.models)
        return {self.spec.cluster.node_of(device) for group in groups for device in group.devices}

    def _weight_bytes(self, model: ModelSpec, config: ParallelConfig) -> int:
        return self.profiles[model.profile].at(config).heaviest_stage_bytes

    def _free_bytes(self, group: Group) -> int:
        return self.spec.cluster.memory_bytes - group_weight_bytes(group, self.spec, self.profiles)

    def _figures(self, placement: Placement, model: ModelSpec) -> str:
        needs = {config: self._weight_bytes(model, config) for config in self.profiles[model.profile].configs}
        wanted = ", ".join(f"{num_bytes} bytes a device as {config}" for config, num_bytes in needs.items())
        room = ", ".join(f"{self._free_bytes(group)} in a {group.config} group" for group in placement.groups)
        return f"model {model.name!r} needs {wanted or 'a config that fits'}; free are {room or 'no groups'}"


def left(placement: Placement, name: str) -> Placement:
    """The placement without the model; groups that have no other stay formed."""
    groups = (
        replace(group, models=tuple(model for model in group.models if model != name)) for group in placement.groups
    )
    return replace(placement, groups=tuple(groups))
