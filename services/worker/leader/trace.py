"""The spans of a request in a group: in `serve` its `admission`, a `queue` before each `stage N`, and the `reply`.

They are written when the request is over, from the instants that are kept anyway.
"""

from typing import TYPE_CHECKING, Any

from services.worker.leader.flight import Admission, Failed, Flight, Outcome, Rejected, Served

if TYPE_CHECKING:
    from services.infra.spans import Span


class FlightTrace:
    """One request whose trace is recorded."""

    def __init__(self, span: "Span", begun_s: float, local_devices: tuple[int, ...]) -> None:
        self._span = span
        self._begun_s = begun_s
        self._local_devices = local_devices
        self._flight: Flight | None = None

    @property
    def trace_id(self) -> str:
        return self._span.trace_id

    def admitted(self, admission: Admission) -> None:
        """Admission has decided."""
        if isinstance(admission, Failed):
            self._part("admission", self._begun_s, None, outcome=admission.reason.value)
            return
        if isinstance(admission, Rejected):
            self._part("admission", self._begun_s, None, outcome="rejected", predicted_s=admission.predicted_s)
            return
        admission.trace_id = self.trace_id
        self._flight = admission
        decided_s = admission.arrival_s
        self._part("admission", self._begun_s, decided_s, outcome="admitted", predicted_s=admission.predicted_s)

    def ended(self, outcome: Outcome | None) -> None:
        """The request is over, and its answer, if there is one, is on its way."""
        if self._flight is not None:
            self._flown(self._flight, outcome)
        failed = outcome.message if isinstance(outcome, Failed) else ""
        self._span.note(outcome=kind_of(outcome))
        self._span.end(failure=failed)

    def _flown(self, flight: Flight, outcome: Outcome | None) -> None:
        at_s, per_stage = flight.arrival_s, len(self._local_devices) // len(flight.replica.stage_latency_s)
        members = {"batch_size": outcome.batch_size} if isinstance(outcome, Served) else {}
        for stage, run in enumerate(flight.runs):
            self._part("queue", at_s, run.begin_s, stage=stage)
            self._part(
                f"stage {stage}",
                run.begin_s,
                run.end_s,
                stage=stage,
                model=flight.model,
                local_devices=self._local_devices[stage * per_stage : (stage + 1) * per_stage],
                profiled_s=run.profiled_s,
                actual_s=run.end_s - run.begin_s,
                **members,
            )
            at_s = run.end_s
        self._part("reply" if isinstance(outcome, Served) else "queue", at_s, None)

    def _part(self, name: str, begin_s: float, end_s: float | None, **attributes: Any) -> None:
        self._span.child(name, begin_s, **attributes).end(end_s)


def kind_of(outcome: Outcome | None) -> str:
    if outcome is None:
        return "cancelled"
    if isinstance(outcome, Rejected):
        return "rejected"
    return "served" if isinstance(outcome, Served) else outcome.reason.value
