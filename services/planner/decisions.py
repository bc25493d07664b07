"""What the planner decided by itself, for whoever asks."""

from collections.abc import AsyncIterator

from alpaserve.v1 import planner_pb2
from google.protobuf import timestamp_pb2

from services.core.errors import InvalidArgument
from services.infra.store.decisions import MOST_KEPT, DecisionRecord, DecisionStore, Outcome
from services.infra.wire import placement_message
from services.planner.controllers.decision import Verdict
from services.planner.replacement import Replacement
from services.planner.replacement_records import FAILED

DEFAULT_LIMIT = 20
VERDICTS = {
    str(Verdict.SWITCH): planner_pb2.VERDICT_SWITCH,
    str(Verdict.RESTING): planner_pb2.VERDICT_RESTING,
    str(Verdict.TOO_LITTLE_TRAFFIC): planner_pb2.VERDICT_TOO_LITTLE_TRAFFIC,
    str(Verdict.NOTHING_BETTER): planner_pb2.VERDICT_NOTHING_BETTER,
    str(Verdict.GAIN_TOO_SMALL): planner_pb2.VERDICT_GAIN_TOO_SMALL,
    str(Verdict.WOULD_FLIP_BACK): planner_pb2.VERDICT_WOULD_FLIP_BACK,
    FAILED: planner_pb2.VERDICT_FAILED,
}
OUTCOMES = {
    Outcome.KEPT: planner_pb2.DECISION_OUTCOME_KEPT,
    Outcome.ADVISED: planner_pb2.DECISION_OUTCOME_ADVISED,
    Outcome.APPLIED: planner_pb2.DECISION_OUTCOME_APPLIED,
    Outcome.REFUSED: planner_pb2.DECISION_OUTCOME_REFUSED,
    Outcome.FAILED: planner_pb2.DECISION_OUTCOME_FAILED,
}


class Decisions:
    """The record of them, and the loop that makes them."""

    def __init__(self, store: DecisionStore, replacement: Replacement) -> None:
        self._store = store
        self._replacement = replacement

    async def newest(self, limit: int) -> planner_pb2.ListDecisionsResponse:
        """The newest first. Raises: InvalidArgument for a limit above what is kept."""
        records = await self._store.newest(checked(limit) or DEFAULT_LIMIT)
        return planner_pb2.ListDecisionsResponse(
            decisions=map(decision_message, records),
            mode=self._replacement.mode,
            controller=self._replacement.controller,
            num_idle_looks=self._replacement.num_idle_looks,
        )

    async def watch(self, limit: int) -> AsyncIterator[planner_pb2.Decision]:
        """The newest ones, oldest first, then every further one. Raises: as `newest`."""
        async for record in self._store.watch(checked(limit)):
            yield decision_message(record)


def checked(limit: int) -> int:
    if limit > MOST_KEPT:
        raise InvalidArgument(f"limit is {limit}; only {MOST_KEPT} decisions are kept")
    return limit


def decision_message(record: DecisionRecord) -> planner_pb2.Decision:
    at, move, predicted = timestamp_pb2.Timestamp(), record.move, record.predicted
    at.FromNanoseconds(int(record.at_s * 1e9))
    message = planner_pb2.Decision(
        at=at,
        controller=record.controller,
        mode=record.mode,
        verdict=VERDICTS[record.verdict],
        outcome=OUTCOMES[record.outcome],
        reason=record.reason,
        observed_per_s=record.observed_per_s,
        expected_per_s=record.expected_per_s,
        candidate=None if record.candidate is None else placement_message(record.candidate),
        num_simulations=record.num_simulations,
        decision_s=record.decision_s,
        base_version=record.base_version,
        applied_version=record.applied_version,
        predicted_s=record.predicted_s,
        transition_s=record.transition_s,
        error=record.error,
        num_idle_looks=record.num_idle_looks,
    )
    if move is not None:
        message.move.CopyFrom(
            planner_pb2.Move(
                models_loaded=move.models_loaded,
                models_dropped=move.models_dropped,
                num_loads=move.num_loads,
                load_bytes=move.load_bytes,
                groups_formed=move.groups_formed,
                groups_dissolved=move.groups_dissolved,
            )
        )
    if predicted is not None:
        message.attainment_stay, message.attainment_switch = predicted.stay, predicted.switch
        message.gain, message.cost, message.standard_error = predicted.gain, predicted.cost, predicted.standard_error
        if predicted.margin is not None:
            message.margin = predicted.margin
    return message
