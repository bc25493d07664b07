"""A transition under way: what is loaded so far, and the deployment that routers may follow now."""

from dataclasses import replace

from services.core.deployment import DeployedGroup, Deployment
from services.planner.changes import Target
from services.planner.transition import Load, ReplicaRef, Transition


class Underway:
    """Between `running` and the target. `groups` are the target's, by index, as far as they run."""

    def __init__(self, running: Deployment, transition: Transition, target: Target) -> None:
        self._running = {group.name: group for group in running.groups}
        self._target = target
        self.groups: dict[int, DeployedGroup] = dict(transition.kept)
        self.loaded: set[Load] = set()
        self.removed: set[ReplicaRef] = set()
        self._published = set(self._running)

    def worker_of(self, ref: ReplicaRef) -> str:
        return self._running[ref.group].worker

    def unpublished(self) -> list[DeployedGroup]:
        """Groups that were formed and that no router knows."""
        return [group for group in self.groups.values() if group.name not in self._published]

    def note_published(self) -> None:
        self._published.update(group.name for group in self.groups.values())

    def deployment(self, is_last: bool) -> Deployment:
        """What routers may use now: the target's groups first, then those that are to go."""
        groups = [self._target_group(index) for index in sorted(self.groups)]
        if not is_last:
            names = {group.name for group in groups}
            leaving = (group for group in self._running.values() if group.name not in names)
            groups += [replace(group, replicas=self._kept(group)) for group in leaving]
        return Deployment(
            groups=tuple(groups),
            models=self._target.deployed_models(),
            request_overhead_s=self._target.profiles.request_overhead_s,
            dispatch=self._target.placement.dispatch,
            max_batch_size=self._target.placement.max_batch_size,
            policy=self._target.policy,
            is_settled=is_last,
        )

    def _target_group(self, index: int) -> DeployedGroup:
        group, wanted = self.groups[index], self._target.placement.groups[index]
        held = set(self._kept(group)) | {model for at, model in self.loaded if at == index}
        replicas = {model: self._target.latency_s(model, group.config) for model in wanted.models if model in held}
        leaving = {model: latency for model, latency in self._kept(group).items() if model not in replicas}
        return replace(group, replicas=replicas | leaving)

    def _kept(self, group: DeployedGroup) -> dict[str, tuple[float, ...]]:
        return {
            model: latency
            for model, latency in group.replicas.items()
            if ReplicaRef(group.name, model) not in self.removed
        }
