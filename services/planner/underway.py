"""A transition under way: its groups so far, and the deployment that routers may follow now."""

from dataclasses import replace

from services.core.deployment import DeployedGroup, Deployment
from services.core.placement import Group
from services.core.transition import Standing, Transition
from services.planner.changes import Target


class Underway:
    """Between what ran and the target. `groups` are the target's, by index, as far as they run."""

    def __init__(self, transition: Transition, target: Target) -> None:
        self._running = {group.name: group for group in transition.running}
        self._target = target
        self.standing = Standing(transition)
        self.groups: dict[int, DeployedGroup] = dict(transition.kept)
        self._published = set(self._running)

    def worker_of(self, group: str) -> str:
        """The worker of a group that ran before."""
        return self._running[group].worker

    def begin_forming(self, index: int, name: str, worker: str) -> Group:
        """Count a group of the target as one that may run from now on."""
        group = self._target.placement.groups[index]
        self.groups[index] = DeployedGroup(name, group.config, group.devices, worker, "", {})
        return group

    def unpublished(self) -> list[DeployedGroup]:
        """Groups that were formed and that no router knows."""
        return [group for group in self.groups.values() if group.name not in self._published]

    def note_published(self) -> None:
        self._published.update(group.name for group in self.groups.values())

    def deployment(self, is_last: bool) -> Deployment:
        """What routers may use now: the target's groups first, then those that are to go."""
        return Deployment(
            groups=tuple(self._group(at, models) for at, models in self.standing.hosted(is_last)),
            models=self._target.deployed_models(),
            request_overhead_s=self._target.profiles.request_overhead_s,
            dispatch=self._target.placement.dispatch,
            max_batch_size=self._target.placement.max_batch_size,
            policy=self._target.policy,
            is_settled=is_last,
        )

    def _group(self, at: int | str, models: tuple[str, ...]) -> DeployedGroup:
        group = self._running[at] if isinstance(at, str) else self.groups[at]
        wanted = () if isinstance(at, str) else self._target.placement.groups[at].models
        latency_s = {
            model: self._target.latency_s(model, group.config) if model in wanted else group.replicas[model]
            for model in models
        }
        return replace(group, replicas=latency_s)
