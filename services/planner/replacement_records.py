"""Decisions and what became of them, as records that are kept, and as metrics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from services.infra.store.decisions import DecisionRecord, MoveRecord, Outcome, Predicted
from services.planner.controllers.decision import Decision, Move, TrafficSummary
from services.planner.replacement_facts import Facts

DECISIONS = Counter(
    "alpaserve_decisions", "Decisions whether to re-place, by verdict.", ["controller", "verdict", "outcome"]
)
PREDICTED = Gauge(
    "alpaserve_predicted_attainment", "Of staying and of switching, by the last decision that simulated it.", ["choice"]
)
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a decision."""

    outcome: Outcome
    error: str = ""
    applied_version: int = 0
    predicted_s: float | None = None
    transition_s: float | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Of one look: in which mode, how long the decision took, and how many looks before it came to nothing."""

    mode: str
    decision_s: float
    num_idle_looks: int


def decision_record(decision: Decision, facts: Facts, fate: Fate, at: Circumstances) -> DecisionRecord:
    traffic, candidate = decision.traffic, decision.candidate
    return DecisionRecord(
        at_s=decision.at_s,
        controller=decision.controller,
        mode=at.mode,
        verdict=str(decision.verdict),
        reason=decision.reason,
        outcome=fate.outcome,
        base_version=facts.current.version,
        observed_per_s=_rates(traffic, traffic.observed_per_s),
        expected_per_s={} if traffic.expected_per_s is None else _rates(traffic, traffic.expected_per_s),
        num_idle_looks=at.num_idle_looks,
        decision_s=at.decision_s,
        predicted=_predicted(decision),
        move=None if decision.move is None else _move(decision.move),
        candidate=None if candidate is None else facts.live.numbered(candidate),
        num_simulations=decision.num_simulations,
        applied_version=fate.applied_version,
        predicted_s=fate.predicted_s,
        transition_s=fate.transition_s,
        error=fate.error,
    )


def failed_record(at_s: float, controller: str, error: str, at: Circumstances) -> DecisionRecord:
    """Of a look that could not come to a decision."""
    return DecisionRecord(
        at_s=at_s,
        controller=controller,
        mode=at.mode,
        verdict=FAILED,
        reason="",
        outcome=Outcome.FAILED,
        base_version=0,
        observed_per_s={},
        expected_per_s={},
        num_idle_looks=at.num_idle_looks,
        decision_s=at.decision_s,
        error=error,
    )


def measure(record: DecisionRecord) -> None:
    """Count a decision for Prometheus."""
    DECISIONS.labels(record.controller, record.verdict, str(record.outcome)).inc()
    if record.predicted is not None:
        PREDICTED.labels("stay").set(record.predicted.stay)
        PREDICTED.labels("switch").set(record.predicted.switch)


def _rates(traffic: TrafficSummary, rates_per_s: NDArray[np.float64]) -> dict[str, float]:
    named = zip(traffic.names, rates_per_s.tolist(), strict=True)
    return {name: float(f"{rate:.4g}") for name, rate in named if rate > 0}


def _predicted(decision: Decision) -> Predicted | None:
    own = decision.prospect
    return None if own is None else Predicted(own.stay, own.switch, own.cost, decision.margin, own.standard_error)


def _move(move: Move) -> MoveRecord:
    return MoveRecord(
        move.models_loaded,
        move.models_dropped,
        move.num_loads,
        move.load_bytes,
        move.groups_formed,
        move.groups_dissolved,
    )
