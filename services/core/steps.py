"""The steps of a transition in the order in which they are taken, and when each of them begins and ends.

Groups of one phase form and load side by side, each its models one after another; then routing switches, and
the groups that give models up drain and unload side by side. One text for the planner, which tells the times
beforehand, and for the simulator, which puts in the drains as they come.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from services.core.deployment import DeployedGroup
from services.core.errors import InvalidArgument
from services.core.phasing import HeaviestStage
from services.core.placement import Group
from services.core.transition import Phase, Standing, Transition


class StepKind(StrEnum):
    """What a step does. To unload a model is to let what was admitted of it finish first."""

    FORM = "form"
    LOAD = "load"
    SWITCH = "switch"
    UNLOAD = "unload"
    DISSOLVE = "dissolve"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a phase, in seconds from the transition's begin. `index` is the target's group that forms or loads,
    `group` the running one that unloads or goes; a switch has neither."""

    kind: StepKind
    phase: int
    begin_s: float
    end_s: float
    index: int | None = None
    group: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class StepCosts:
    """What steps take on some devices. A replica loads with `load_bytes_per_s` on every device of its group at once,
    so its heaviest stage counts."""

    load_bytes_per_s: float = math.inf
    form_s: float = 0.0
    switch_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.load_bytes_per_s > 0:
            raise InvalidArgument(f"load_bytes_per_s must be positive, got {self.load_bytes_per_s!r}")
        for name in ("form_s", "switch_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidArgument(f"{name} must not be negative, got {value!r}")


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds: `form_s` of a group, `load_s` of a model into one, `drained_s` of a running group's model, when it may
    be unloaded if it is routed no more at the given instant."""

    form_s: Callable[[Group], float]
    load_s: Callable[[Group, str], float]
    drained_s: Callable[[DeployedGroup, str, float], float]
    switch_s: float = 0.0


def step_times(
    costs_at: Callable[[Group], StepCosts],
    heaviest: HeaviestStage,
    drained_s: Callable[[DeployedGroup, str, float], float],
    switch_s: float,
) -> StepTimes:
    """What steps take that cost so much on the devices of each group; a replica loads by its heaviest stage."""
    return StepTimes(
        form_s=lambda group: costs_at(group).form_s,
        load_s=lambda group, model: heaviest(model, group.config) / costs_at(group).load_bytes_per_s,
        drained_s=drained_s,
        switch_s=switch_s,
    )


@dataclass(frozen=True, slots=True)
class Down:
    """A window in which no group serves a model, in seconds from the transition's begin; `end_s` is None while it
    lasts."""

    model: str
    begin_s: float
    end_s: float | None = None


@dataclass(slots=True, eq=False)
class Downtimes:
    """The windows in which models that are served before and after are not, as switches come."""

    transition: Transition
    _since_s: dict[str, float] = field(default_factory=dict)
    _over: list[Down] = field(default_factory=list)

    def switched(self, standing: Standing, is_last: bool, now_s: float) -> None:
        there = standing.num_replicas(is_last)
        for model in self.transition.interrupted:
            if not there[model]:
                self._since_s.setdefault(model, now_s)
            elif model in self._since_s:
                self._over.append(Down(model, self._since_s.pop(model), now_s))

    def windows(self) -> tuple[Down, ...]:
        """Those that are over, then those that last."""
        return (*self._over, *(Down(model, begin_s) for model, begin_s in self._since_s.items()))


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a transition is predicted to take, step by step."""

    steps: tuple[Step, ...]
    down: tuple[Down, ...]

    @property
    def end_s(self) -> float:
        return max((step.end_s for step in self.steps), default=0.0)


@dataclass(frozen=True, slots=True)
class Switch:
    """Routers follow a new deployment from `at_s` on."""

    at_s: float
    standing: Standing
    is_last: bool


def schedule(transition: Transition, times: StepTimes) -> Schedule:
    """All steps of a transition, and the windows in which models are down."""
    steps: list[Step] = []
    downtimes = Downtimes(transition)
    for switch in walk(transition, times, 0.0, steps):
        downtimes.switched(switch.standing, switch.is_last, switch.at_s)
    return Schedule(tuple(steps), downtimes.windows())


def walk(transition: Transition, times: StepTimes, begin_s: float, steps: list[Step]) -> Iterator[Switch]:
    """Append the steps as they come, and stop at every switch: what follows it is asked for only afterwards."""
    standing = Standing(transition)
    groups = {group.name: group for group in transition.running}
    phases = phases_of(transition)
    now_s = begin_s
    for number, phase in enumerate(phases):
        now_s = max([now_s, *_load(transition, standing, times, number, now_s, steps)])
        standing.loaded.update(phase.loads)
        standing.removed.update(phase.unloads)
        steps.append(Step(StepKind.SWITCH, number, now_s, now_s + times.switch_s))
        yield Switch(now_s, standing, is_last=number + 1 == len(phases))
        now_s = max([now_s + times.switch_s, *_unload(groups, phase, times, number, now_s, steps)])
    steps.extend(
        Step(StepKind.DISSOLVE, len(phases) - 1, now_s, now_s, group=group.name) for group in transition.dissolved
    )


def phases_of(transition: Transition) -> tuple[Phase, ...]:
    """One at least: also what changes nothing of the groups is published."""
    return transition.phases or (Phase((), ()),)


def _load(
    transition: Transition, standing: Standing, times: StepTimes, number: int, now_s: float, steps: list[Step]
) -> Iterator[float]:
    """Form and load; yields when each group is ready."""
    formed = {index for index, _ in standing.loaded}
    for index, models in loads_by_group(phases_of(transition)[number]).items():
        group, at_s = transition.target.groups[index], now_s
        if index not in transition.kept and index not in formed:
            steps.append(Step(StepKind.FORM, number, at_s, at_s + times.form_s(group), index))
            at_s = steps[-1].end_s
        for model in models:
            steps.append(Step(StepKind.LOAD, number, at_s, at_s + times.load_s(group, model), index, model=model))
            at_s = steps[-1].end_s
        yield at_s


def _unload(
    groups: dict[str, DeployedGroup], phase: Phase, times: StepTimes, number: int, switched_s: float, steps: list[Step]
) -> Iterator[float]:
    """Drain and unload; yields when each group is done."""
    for name, models in unloads_by_group(phase).items():
        at_s = switched_s + times.switch_s
        for model in models:
            drained_s = max(at_s, times.drained_s(groups[name], model, switched_s))
            steps.append(Step(StepKind.UNLOAD, number, at_s, drained_s, group=name, model=model))
            at_s = drained_s
        yield at_s


def loads_by_group(phase: Phase) -> dict[int, list[str]]:
    """The models that each of the target's groups loads, in order."""
    models: dict[int, list[str]] = defaultdict(list)
    for index, model in phase.loads:
        models[index].append(model)
    return models


def unloads_by_group(phase: Phase) -> dict[str, list[str]]:
    """The models that each running group gives up, in order."""
    models: dict[str, list[str]] = defaultdict(list)
    for ref in phase.unloads:
        models[ref.group].append(ref.model)
    return models
