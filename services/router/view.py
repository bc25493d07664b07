"""What a router knows of the groups: the running placement and each group's clocks.

The leaders own the truth. Between their reports a router counts its own requests, so that a burst
does not all go to the group that was free a moment ago.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from services.core import schedule
from services.core.deployment import DeployedModel, Deployment
from services.core.errors import NotPlaced, UnknownModel

# Leaders that have something to tell do so every 10 ms; older news refuse nobody.
FRESH_S = 0.1


@dataclass(frozen=True, slots=True)
class Report:
    """A leader's clocks as it published them; `num_received` is the last of this router's
    requests that they include."""

    free_in_s: Sequence[float]
    num_in_flight: int
    num_received: int


@dataclass(slots=True)
class GroupView:
    """The models of what was sent to a group, by sequence, as long as it is unanswered and not in
    the group's last report."""

    name: str
    index: int
    sent: dict[int, str] = field(default_factory=dict)


class PlacementView:
    """The rule's arrays for one deployment."""

    def __init__(self, deployment: Deployment, followed_s: float = 0.0) -> None:
        self.deployment = deployment
        self._back_s = {model: followed_s + in_s for model, in_s in deployment.returning_s.items()}
        self.groups = {group.name: GroupView(group.name, index) for index, group in enumerate(deployment.groups)}
        self.names = tuple(group.name for group in deployment.groups)
        self._first_stage = [0]
        for group in deployment.groups:
            self._first_stage.append(self._first_stage[-1] + group.config.inter_op)
        self._free_at = [0.0] * self._first_stage[-1]
        self._num_in_flight = [0] * len(deployment.groups)
        self._reported = [0.0] * self._first_stage[-1]
        self._reported_s = [-math.inf] * len(deployment.groups)
        self._rule = deployment.dispatch_rule
        self._hosts: dict[str, tuple[int, ...]] = {}
        self._latency: dict[str, list[float]] = {}
        for model in deployment.models:
            self._add_model(model)

    def _add_model(self, model: str) -> None:
        latency = [0.0] * self._first_stage[-1]
        hosts = []
        for index, group in enumerate(self.deployment.groups):
            if model in group.replicas:
                hosts.append(index)
                latency[self._first_stage[index] : self._first_stage[index + 1]] = group.replicas[model]
        self._hosts[model] = tuple(hosts)
        self._latency[model] = latency

    def model(self, name: str) -> DeployedModel:
        """Raises: UnknownModel; NotPlaced if no group holds it, nor should soon."""
        found = self.deployment.models.get(name)
        if found is None:
            raise UnknownModel(f"no model {name!r} is registered")
        if not self._hosts[name] and name not in self._back_s:
            raise NotPlaced(f"model {name!r} is placed nowhere")
        return found

    def back_s(self, name: str) -> float | None:
        """When a model that a transition has left without a group should have one again; None if it has one."""
        return None if self._hosts[name] else self._back_s.get(name)

    def dispatch(self, model: str, now_s: float, avoid: Collection[str]) -> GroupView | None:
        """The group that the rule names, leaving out those to avoid; None if none is left."""
        hosts: Sequence[int] = self._hosts.get(model, ())
        if avoid:
            hosts = [index for index in hosts if self.names[index] not in avoid]
        if not hosts:
            return None
        chosen = schedule.dispatch(
            self._rule, now_s, hosts, self._first_stage, self._free_at, self._num_in_flight, self._latency[model]
        )
        return self.groups[self.names[chosen]]

    def predicted_s(self, group: GroupView, model: str, now_s: float) -> float:
        """Seconds until a request sent now would be finished."""
        begin, end = self._stages(group.index)
        end_s = schedule.last_stage_end(now_s, self._free_at, self._latency[model], begin, end)
        return end_s + self.deployment.request_overhead_s - now_s

    def is_heard(self, name: str, now_s: float) -> bool:
        """Whether the leader of a group told of itself of late."""
        group = self.groups.get(name)
        return group is not None and now_s - self._reported_s[group.index] <= FRESH_S

    def full_s(self, group: GroupView, model: str, now_s: float) -> float:
        """Seconds that a request sent now takes, by what the leader told of late and without those sent since; 0 if it
        told nothing. What it let go since then can only make it fewer."""
        if not self.is_heard(group.name, now_s):
            return 0.0
        begin, end = self._stages(group.index)
        if self.deployment.max_batch_size > 1:
            # Who joins a batch may be done as soon as those before.
            return max(0.0, self._reported[end - 1] - now_s)
        end_s = schedule.last_stage_end(now_s, self._reported, self._latency[model], begin, end)
        return end_s + self.deployment.request_overhead_s - now_s

    def sent(self, group: GroupView, model: str, sequence: int, now_s: float) -> None:
        """Count a request of our own."""
        group.sent[sequence] = model
        self._commit(group, model, now_s)

    def ended(self, group: GroupView, sequence: int) -> None:
        """A request of ours left the group."""
        group.sent.pop(sequence, None)
        self._num_in_flight[group.index] = max(0, self._num_in_flight[group.index] - 1)

    def report(self, name: str, report: Report, now_s: float) -> None:
        """Take a leader's clocks, and count again what they do not include yet."""
        group = self.groups.get(name)
        if group is None:
            return
        begin, end = self._stages(group.index)
        if len(report.free_in_s) != end - begin:
            return
        self._free_at[begin:end] = [now_s + free_in_s for free_in_s in report.free_in_s]
        self._reported[begin:end] = self._free_at[begin:end]
        self._reported_s[group.index] = now_s
        self._num_in_flight[group.index] = report.num_in_flight
        for sequence in [sequence for sequence in group.sent if sequence <= report.num_received]:
            del group.sent[sequence]
        for model in group.sent.values():
            self._commit(group, model, now_s)

    def inherit(self, older: "PlacementView", now_s: float) -> None:
        """Keep what is known of groups that go on running."""
        for name, group in self.groups.items():
            known = older.groups.get(name)
            if known is None:
                continue
            begin, end = self._stages(group.index)
            old_begin, old_end = older._stages(known.index)
            self._free_at[begin:end] = older._free_at[old_begin:old_end]
            self._num_in_flight[group.index] = older._num_in_flight[known.index]
            group.sent = known.sent

    def _commit(self, group: GroupView, model: str, now_s: float) -> None:
        begin, end = self._stages(group.index)
        latency = self._latency.get(model)
        if latency is not None:
            schedule.commit(now_s, self._free_at, latency, begin, end)
        self._num_in_flight[group.index] += 1

    def _stages(self, index: int) -> tuple[int, int]:
        return self._first_stage[index], self._first_stage[index + 1]
