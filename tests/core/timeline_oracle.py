"""Re-placement a second time, from the documented definitions: request by request, switch by switch.

Which replicas move in which phase is asked of `plan_transition`, whose own tests say why; everything else is here.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from services.core.deployment import DeployedGroup, Deployment
from services.core.documents import parse_placement
from services.core.phasing import plan_transition
from services.core.profile import ParallelConfig
from services.core.transition import Phase
from tests.core.oracle import Document, allowed, choose, finish, stage_costs

Seat = tuple[int, int, tuple[int, ...]]


def seat(group: Document) -> Seat:
    return group["inter_op"], group["intra_op"], tuple(group["devices"])


@dataclass
class Serving:
    """A group that serves: its clocks, and the models it holds."""

    document: Document
    clocks: list[float]
    models: list[str]


@dataclass
class Replacement:
    """What serves now, and the phases that are still to come. Phase `phases[0]` loads from `at_s` on."""

    heaviest: Callable[[str, Document], int]
    memory_bytes: int
    speed: float | None
    rates: Callable[[float], dict[str, float] | None]
    windows: list[Document]
    groups: list[Serving] = field(default_factory=list)
    device_s: dict[int, float] = field(default_factory=dict)
    target: list[Document] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    before: list[Serving] = field(default_factory=list)
    at_s: float = -math.inf
    has_begun: bool = False

    def come_to(self, now_s: float) -> Iterator[float]:
        """Everything that happens until now; stops at the instant of each change."""
        if not self.has_begun:
            self.has_begun = True
            self.target = self.windows.pop(0)["groups"]
            self.take([(document, list(document["models"])) for document in self.target])
        while True:
            if self.phases:
                if self.switch_s() > now_s:
                    return
                switched_s = self.switch_s()
                self.switch()
                yield switched_s
            elif self.windows and max(self.windows[0]["begin_s"], self.at_s) <= now_s:
                self.begin(self.windows.pop(0))
            else:
                return

    def is_down(self, name: str) -> bool:
        """Whether no group holds a model that one held before the transition, and one will after it."""
        before, after = (any(name in group.models for group in self.before), name in self.coming)
        return bool(self.phases) and before and after and not any(name in group.models for group in self.groups)

    @property
    def coming(self) -> set[str]:
        return {model for group in self.target for model in group["models"]}

    def begin(self, window: Document) -> None:
        self.target = window["groups"]
        self.at_s = max(window["begin_s"], self.at_s)
        if self.speed is None:
            self.take([(document, list(document["models"])) for document in self.target])
            return
        running = Deployment(
            groups=tuple(
                DeployedGroup(
                    f"{index:03}",
                    ParallelConfig(group.document["inter_op"], group.document["intra_op"]),
                    tuple(group.document["devices"]),
                    "",
                    "",
                    dict.fromkeys(group.models, ()),
                )
                for index, group in enumerate(self.groups)
            )
        )
        placement = parse_placement({"schema": "alpaserve.placement/v1", "groups": self.target})

        def heaviest(model: str, config: ParallelConfig) -> int:
            return self.heaviest(model, {"inter_op": config.inter_op, "intra_op": config.intra_op})

        transition = plan_transition(running, placement, heaviest, self.memory_bytes, self.rates(self.at_s))
        self.phases = list(transition.phases) or [Phase((), ())]
        self.before = list(self.groups)

    def switch_s(self) -> float:
        loading: dict[int, float] = {}
        for index, model in self.phases[0].loads:
            seconds = self.heaviest(model, self.target[index]) / (self.speed or math.inf)
            loading[index] = loading.get(index, self.at_s) + seconds
        return max([self.at_s, *loading.values()])

    def switch(self) -> None:
        now_s, phase = self.switch_s(), self.phases.pop(0)
        held = {seat(group.document): set(group.models) for group in self.groups}
        for index, model in phase.loads:
            held.setdefault(seat(self.target[index]), set()).add(model)
        for ref in phase.unloads:
            held[seat(self.before[int(ref.group)].document)].discard(ref.model)
        leaving = [group.document for group in self.before if seat(group.document) not in map(seat, self.target)]
        staying = self.target + (leaving if self.phases else [])
        gives = {seat(self.before[int(ref.group)].document) for ref in phase.unloads}
        ends_s = [group.clocks[-1] for group in self.groups if seat(group.document) in gives]
        self.at_s = max([now_s, *ends_s])
        self.take([(document, self.ordered(document, held)) for document in staying if seat(document) in held])

    def ordered(self, document: Document, held: dict[Seat, set[str]]) -> list[str]:
        """As the target lists them, then those that leave as they were listed before."""
        known = [model for group in self.before if seat(group.document) == seat(document) for model in group.models]
        wanted = document["models"] if document in self.target else []
        return [model for model in dict.fromkeys([*wanted, *known]) if model in held[seat(document)]]

    def take(self, groups: list[tuple[Document, list[str]]]) -> None:
        for group in self.groups:
            width = group.document["intra_op"]
            for position, device in enumerate(group.document["devices"]):
                self.device_s[device] = max(self.device_s.get(device, 0.0), group.clocks[position // width])
        known = {seat(group.document): group.clocks for group in self.groups}
        self.groups = [
            Serving(document, known.get(seat(document)) or self.formed(document), models) for document, models in groups
        ]

    def formed(self, document: Document) -> list[float]:
        width = document["intra_op"]
        if self.speed is not None:
            return [0.0] * document["inter_op"]
        return [
            max(self.device_s.get(device, 0.0) for device in document["devices"][k * width : (k + 1) * width])
            for k in range(document["inter_op"])
        ]


def simulate(
    spec: Document,
    profiles: Document,
    windows: list[Document],
    rows: list[tuple[float, str, float | None]],
    rule: str,
    load_bytes_per_s: float | None = None,
) -> list[tuple[Seat | None, float | None]]:
    """Per request its group, None without one, and its finish, None if rejected."""
    profile_of = {model["name"]: model["profile"] for model in spec["models"]}

    def rates(now_s: float) -> dict[str, float] | None:
        recent = [name for at_s, name, _ in rows if now_s - 60 <= at_s < now_s]
        return {name: recent.count(name) / 60 for name in profile_of} if recent else None

    state = Replacement(
        heaviest=lambda model, group: heaviest(profiles, profile_of[model], group),
        memory_bytes=spec["cluster"]["memory_bytes"],
        speed=load_bytes_per_s,
        rates=rates,
        windows=list(windows),
    )
    fates: list[tuple[Seat | None, float | None]] = [(None, None)] * len(rows)
    ends: dict[Seat, list[float]] = {}
    held: list[int] = []

    def ask(number: int, now_s: float) -> None:
        arrival_s, name, own_slo_s = rows[number]
        allowed_s = allowed(spec, profiles, name, own_slo_s) - (now_s - arrival_s)
        costs: dict[int, Any] = {
            g: stage_costs(profiles, profile_of[name], group.document)
            for g, group in enumerate(state.groups)
            if name in group.models
        }
        if not costs:
            if state.is_down(name):
                held.append(number)
            return
        if allowed_s < 0:
            return
        all_ends = [ends.setdefault(seat(group.document), []) for group in state.groups]
        g = choose(rule, now_s, [group.clocks for group in state.groups], all_ends, costs)
        end_s, after = finish(now_s, state.groups[g].clocks, costs[g])
        finish_s = end_s + profiles["request_overhead_s"]
        fates[number] = (seat(state.groups[g].document), None)
        if finish_s - now_s <= allowed_s:
            state.groups[g].clocks = after
            all_ends[g].append(end_s)
            fates[number] = (seat(state.groups[g].document), finish_s)

    def come_to(now_s: float) -> None:
        for switched_s in state.come_to(now_s):
            waiting, held[:] = held.copy(), []
            for number in waiting:
                ask(number, switched_s)

    for number, (now_s, _, _) in enumerate(rows):
        come_to(now_s)
        ask(number, now_s)
    come_to(math.inf)
    return fates


def heaviest(profiles: Document, profile: str, group: Document) -> int:
    return next(
        int(max(entry["stage_weight_bytes"]))
        for model in profiles["models"]
        if model["model"] == profile
        for entry in model["profiles"]
        if (entry["inter_op"], entry["intra_op"], entry["batch_size"]) == (group["inter_op"], group["intra_op"], 1)
    )
