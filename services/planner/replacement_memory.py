"""What is remembered between decisions, also over a restart: since when what runs does, and what it assumed."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from pydantic import TypeAdapter

from services.core.placement import Placement
from services.planner.controllers.decision import PastSwitch, Running, replicas_of
from services.planner.controllers.drift import Assumed
from services.planner.replacement_facts import Facts


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """`running` is on plans' devices, of the global ids `devices`; its arrays have a row for each of `names`."""

    devices: tuple[int, ...]
    names: tuple[str, ...]
    running: Running

    @classmethod
    def of(cls, facts: Facts, running: Running) -> Self:
        return cls(facts.live.devices, facts.observation.names, running)

    def under(self, facts: Facts) -> Running:
        """What is still true. A placement that somebody else chose begins anew, with the switches before it."""
        if self.devices != facts.live.devices:
            return begun(facts)
        if replicas_of(self.running.placement) != replicas_of(facts.running):
            return replace(begun(facts), switches=self.running.switches)
        assumed = self.running.assumed if self.names == facts.observation.names else begun(facts).assumed
        return replace(self.running, placement=facts.running, assumed=assumed)

    def dump(self) -> bytes:
        running, assumed = self.running, self.running.assumed
        return _document.dump_json(
            _Document(
                devices=self.devices,
                names=self.names,
                placement=running.placement,
                since_s=running.since_s,
                looked_at_s=running.looked_at_s,
                assumed=None if assumed is None else _assumed_document(assumed),
                switches=running.switches,
            )
        )

    @classmethod
    def load(cls, document: bytes) -> Self:
        """Raises: ValueError for a document that is none."""
        own = _document.validate_json(document)
        assumed = None if own.assumed is None else _assumed(own.assumed)
        running = Running(own.placement, own.since_s, own.looked_at_s, assumed, own.switches)
        return cls(own.devices, own.names, running)


def begun(facts: Facts) -> Running:
    """What runs, as if it had been chosen for the traffic of late."""
    return Running.begin(facts.running, facts.observation.now_s, facts.observation)


@dataclass(frozen=True, slots=True)
class _Assumed:
    rates_per_s: tuple[float, ...]
    cv: tuple[float, ...]
    span_s: float


@dataclass(frozen=True, slots=True)
class _Document:
    devices: tuple[int, ...]
    names: tuple[str, ...]
    placement: Placement
    since_s: float
    looked_at_s: float
    assumed: _Assumed | None
    switches: tuple[PastSwitch, ...]


def _assumed_document(assumed: Assumed) -> _Assumed:
    return _Assumed(tuple(assumed.rates_per_s.tolist()), tuple(assumed.cv.tolist()), assumed.span_s)


def _assumed(document: _Assumed) -> Assumed:
    return Assumed(np.array(document.rates_per_s), np.array(document.cv), document.span_s)


_document = TypeAdapter(_Document)
