"""Decisions as records: what was seen and expected, what was considered, and why it was done or not."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from services.core.difference import difference, load_bytes
from services.core.placement import Group, Placement
from services.core.profile import Profiles
from services.core.spec import Spec
from services.planner.controllers.drift import Assumed
from services.planner.controllers.observation import Observation

_MOST_REMEMBERED = 31


class Verdict(StrEnum):
    """What a decision came to; only the first changes anything."""

    SWITCH = "switch"
    NOT_DUE = "not_due"
    RESTING = "resting"
    TOO_LITTLE_TRAFFIC = "too_little_traffic"
    NOTHING_BETTER = "nothing_better"
    GAIN_TOO_SMALL = "gain_too_small"
    WOULD_FLIP_BACK = "would_flip_back"


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on a group, known by its config and devices."""

    model: str
    inter_op: int
    devices: tuple[int, ...]


def replicas_of(placement: Placement) -> frozenset[Replica]:
    return frozenset(
        Replica(model, group.config.inter_op, group.devices) for group in placement.groups for model in group.models
    )


@dataclass(frozen=True, slots=True)
class Move:
    """What a switch changes: replicas to load and to drop, the bytes to load over all devices, groups."""

    models_loaded: tuple[str, ...]
    models_dropped: tuple[str, ...]
    num_loads: int
    load_bytes: int
    groups_formed: int
    groups_dissolved: int

    @classmethod
    def between(cls, before: Placement, after: Placement, spec: Spec, profiles: Profiles) -> "Move":
        changed = difference(before, after)
        added = [(name, after.groups[g]) for name, change in changed.replicas.items() for g in change.added]
        return cls(
            models_loaded=tuple(name for name, change in changed.replicas.items() if change.added),
            models_dropped=tuple(name for name, change in changed.replicas.items() if change.removed),
            num_loads=changed.num_loads,
            load_bytes=sum(_load_bytes(name, group, spec, profiles) for name, group in added),
            groups_formed=len(changed.formed),
            groups_dissolved=len(changed.dissolved),
        )


def _load_bytes(model: str, group: Group, spec: Spec, profiles: Profiles) -> int:
    return load_bytes(profiles[spec.model(model).profile], group.config)


@dataclass(frozen=True, slots=True)
class Prospect:
    """Attainment over the horizon, predicted on workloads drawn for that alone: of staying, of switching
    with what it costs, and of a switch that cost nothing. `standard_error` is that of the gain."""

    stay: float
    switch: float
    switch_for_free: float
    standard_error: float

    @property
    def gain(self) -> float:
        return self.switch - self.stay

    @property
    def cost(self) -> float:
        return self.switch_for_free - self.switch


@dataclass(frozen=True, slots=True, eq=False)
class TrafficSummary:
    """Rates of each model, (num_models,): of late, and as the plan expects them, None where none was made."""

    names: tuple[str, ...]
    observed_per_s: NDArray[np.float64]
    expected_per_s: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One look at the traffic. What was not reached is None: without a search there is no candidate."""

    at_s: float
    controller: str
    verdict: Verdict
    reason: str
    traffic: TrafficSummary
    assumed: Assumed | None = None
    candidate: Placement | None = None
    move: Move | None = None
    prospect: Prospect | None = None
    margin: float | None = None
    num_simulations: int = 0

    @property
    def taken(self) -> bool:
        return self.verdict is Verdict.SWITCH

    @property
    def looked(self) -> bool:
        """Whether the controller had a reason to search."""
        return self.verdict not in (Verdict.NOT_DUE, Verdict.RESTING)


@dataclass(frozen=True, slots=True)
class PastSwitch:
    """A switch that was made: when, what was left, and what it was predicted to gain."""

    at_s: float
    left: frozenset[Replica]
    came: frozenset[Replica]
    gain: float

    def share_undone(self, before: frozenset[Replica], after: frozenset[Replica]) -> float:
        """How much of this switch going from `before` to `after` would take back, from 0 to 1."""
        num_undone = len(self.left & (after - before)) + len(self.came & (before - after))
        return num_undone / max(len(self.left) + len(self.came), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """What runs and what is remembered of how it came: since when, what it assumed, when a controller
    last had a reason to look, and the switches made, oldest first."""

    placement: Placement
    since_s: float
    looked_at_s: float
    assumed: Assumed | None = None
    switches: tuple[PastSwitch, ...] = ()

    @classmethod
    def begin(cls, placement: Placement, now_s: float, observation: Observation | None = None) -> "Running":
        """A placement that somebody else chose, for traffic like the observed one as far as is known."""
        assumed = None if observation is None or not observation.num_requests else Assumed.of(observation)
        return cls(placement, now_s, now_s, assumed)

    def looked(self, decision: Decision) -> "Running":
        """After a decision that changed nothing. Where nothing better was found, the placement that stays
        is the answer to the traffic that was seen."""
        if not decision.looked:
            return self
        is_answered = decision.verdict in (Verdict.NOTHING_BETTER, Verdict.GAIN_TOO_SMALL)
        return replace(self, looked_at_s=decision.at_s, assumed=decision.assumed if is_answered else self.assumed)

    def after(self, decision: Decision) -> "Running":
        """After a decision that was applied where it was to be, and else changed nothing."""
        if not decision.taken or decision.candidate is None or decision.prospect is None:
            return self.looked(decision)
        before, after = replicas_of(self.placement), replicas_of(decision.candidate)
        made = PastSwitch(decision.at_s, before - after, after - before, decision.prospect.gain)
        switches = (*self.switches[-_MOST_REMEMBERED:], made)
        return Running(decision.candidate, decision.at_s, decision.at_s, decision.assumed, switches)
