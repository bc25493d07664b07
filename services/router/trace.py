"""The spans of a request in the router: `receive`, then `dispatch`, in it an `attempt` for each group that is asked."""

from collections.abc import Iterator
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


class RequestTrace:
    """One request whose trace is recorded, below the call that brought it; the group that is asked goes on with it
    below `traceparent`."""

    def __init__(self, call: "Span") -> None:
        self.traceparent = ""
        self._call = call
        self._part = call.child("receive")
        self._refused_by = ""

    def received(self, call: Call) -> "RequestTrace":
        """The request is here, and is dispatched from now on."""
        self._part.end(call.arrival_s)
        self._call.note(model=call.model, request_id=call.request_id, num_bytes=len(call.content))
        self._part = self._call.child("dispatch", call.arrival_s)
        return self

    @contextmanager
    def attempt(self, group: str) -> Iterator[Asked]:
        """Asking a group; another one asked before makes that a dispatch anew."""
        if self._refused_by:
            self._part.event("redispatched", group=group, refused_by=self._refused_by)
        span = self._part.child("attempt", group=group)
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

    def ended(self, outcome: Outcome) -> None:
        """The request has its answer, or an error instead of one."""
        self._part.end()
        self._call.note(outcome=outcome.value)


def request_trace() -> RequestTrace | None:
    """The trace of the request that this task takes in; None if none is recorded."""
    span = current_span()
    return None if span is None else RequestTrace(span)
