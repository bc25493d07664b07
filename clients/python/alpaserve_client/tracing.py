"""Traces of the caller go on through the services. A caller that traces has imported OpenTelemetry; for one that does
not, nothing is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from alpaserve_client.inference import InferResult

Metadata = tuple[tuple[str, str], ...]


class InferSpan:
    """The span of an inference with all its tries; without a `span` it does nothing."""

    def __init__(self, span: "Span | None" = None) -> None:
        self._span = span
        self.metadata = propagated()

    def answered(self, result: "InferResult") -> "InferResult":
        if self._span is not None:
            self._span.set_attribute("alpaserve.group", result.group)
            self._span.set_attribute("alpaserve.placement_version", result.placement_version)
        return result


@contextmanager
def infer_span(model: str, request_id: str) -> Iterator[InferSpan]:
    """A span of the caller's tracer while the block runs, if the caller has one."""
    if not _is_traced():
        yield InferSpan()
        return
    from opentelemetry.trace import SpanKind, get_tracer

    attributes = {"rpc.system": "grpc", "alpaserve.model": model, "alpaserve.request_id": request_id}
    with get_tracer("alpaserve_client").start_as_current_span("Infer", None, SpanKind.CLIENT, attributes) as span:
        yield InferSpan(span)


def propagated() -> Metadata:
    """Metadata by which a service goes on with the caller's trace; empty without one."""
    if not _is_traced():
        return ()
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


def _is_traced() -> bool:
    return "opentelemetry.trace" in sys.modules
