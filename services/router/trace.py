"""The spans of a request in the router: `receive`, then `dispatch`, one for each example of a batch, in it an `attempt`
for each group that is asked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.infra.tracing import current_span
from services.router.call import Call
from services.router.metrics import Outcome, outcome_of

if TYPE_CHECKING:
    from services.infra.spans import Span


@dataclass(slots=True)
class Asked:
    """A group that is asked. `error` is why it did not serve the request, where that ended nothing."""

    error: Exception | None = None


class DispatchTrace:
    """The dispatch of a request whose trace is recorded; the group that is asked goes on with it below
    `traceparent`."""

    def __init__(self, dispatch: "Span") -> None:
        self.traceparent = ""
        self._dispatch = dispatch
        self._refused_by = ""

    @contextmanager
    def attempt(self, group: str) -> Iterator[Asked]:
        """Asking a group; another one asked before makes that a dispatch anew."""
        if self._refused_by:
            self._dispatch.event("redispatched", group=group, refused_by=self._refused_by)
        span = self._dispatch.child("attempt", group=group)
        self.traceparent = span.traceparent
        asked, outcome = Asked(), Outcome.SERVED
        try:
            yield asked
            if asked.error is not None:
                outcome, self._refused_by = outcome_of(asked.error), group
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            span.note(outcome=outcome.value)
            span.end()

    def ended(self) -> None:
        """It is over; to say so again changes nothing."""
        if self._dispatch.is_recorded:
            self._dispatch.end()


class RequestTrace:
    """One message whose trace is recorded, below the call that brought it."""

    def __init__(self, call: "Span") -> None:
        self._call = call
        self._receiving = call.child("receive")
        self._dispatches: list[DispatchTrace] = []

    def received(self, calls: Sequence[Call]) -> None:
        """It is here, and what it asks for is dispatched from now on."""
        first = calls[0]
        self._receiving.end(first.arrival_s)
        num_bytes = sum(len(call.content) for call in calls)
        self._call.note(model=first.model, request_id=first.request_id, num_bytes=num_bytes)
        for call in calls:
            call.trace = DispatchTrace(self._call.child("dispatch", first.arrival_s))
            self._dispatches.append(call.trace)

    def ended(self, outcome: Outcome) -> None:
        """It has its answer, or an error instead of one."""
        if not self._dispatches:
            self._receiving.end()
        for dispatch in self._dispatches:
            dispatch.ended()
        self._call.note(outcome=outcome.value)


def request_trace() -> RequestTrace | None:
    """The trace of the request that this task takes in; None if none is recorded."""
    span = current_span()
    return None if span is None else RequestTrace(span)
