"""Spans, and their way to a collector: in batches, by a thread, over OTLP/gRPC. Only where traces are on is this
imported, and OpenTelemetry with it. Instants are monotonic seconds, as everywhere.
"""

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from time import monotonic_ns, time_ns
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = structlog.get_logger()

Metadata = Iterable[tuple[str, str | bytes]]
TRACEPARENT = "traceparent"
SEND_EVERY_MS, SEND_WITHIN_S, LAST_SEND_MS = 1_000, 5.0, 2_000
# Calls that begin a trace where their caller brings none; polls and probes only go on with one.
BEGINNING = frozenset(
    {"Infer", "ModelInfer"}
    | {"Plan", "Explore", "Simulate", "ApplyPlan", "RollbackPlacement", "Profile"}
    | {"FormGroup", "LoadModel", "UnloadModel", "DissolveGroup"}
)


class Span:
    """What is under way in a trace, until `end`. Attributes get the prefix `alpaserve.`."""

    __slots__ = ("_offset_ns", "_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span, offset_ns: int) -> None:
        self._tracer = tracer
        self._span = span
        self._offset_ns = offset_ns

    @property
    def is_recorded(self) -> bool:
        return self._span.is_recording()

    @property
    def trace_id(self) -> str:
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    @property
    def traceparent(self) -> str:
        """What lets another process go on below this span."""
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier[TRACEPARENT]

    def child(self, name: str, begin_s: float | None = None, **attributes: Any) -> "Span":
        """A part of this span that began then, or begins now."""
        begun = self._tracer.start_span(
            name,
            trace.set_span_in_context(self._span, Context()),
            attributes=named(attributes),
            start_time=self._epoch_ns(begin_s),
        )
        return Span(self._tracer, begun, self._offset_ns)

    def event(self, name: str, **attributes: Any) -> None:
        """Something that happens now."""
        self._span.add_event(name, named(attributes))

    def note(self, **attributes: Any) -> None:
        self._span.set_attributes(named(attributes))

    def end(self, end_s: float | None = None, failure: str = "") -> None:
        """It ended then, or ends now; with a `failure`, failed."""
        if failure:
            self._span.set_status(trace.StatusCode.ERROR, failure)
        self._span.end(self._epoch_ns(end_s))

    def _epoch_ns(self, instant_s: float | None) -> int:
        return self._offset_ns + (monotonic_ns() if instant_s is None else round(1e9 * instant_s))


class Tracing:
    """The traces of this process; close it at the end."""

    def __init__(self, endpoint: str, ratio: float, service: str) -> None:
        """Begin traces of this share of the calls that bring none, and go on with those that a caller samples."""
        who = {"service.name": f"alpaserve-{service}", "service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
        sampler = ParentBased(TraceIdRatioBased(ratio))
        self._provider = TracerProvider(sampler, Resource.create(who), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint, timeout=SEND_WITHIN_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=SEND_EVERY_MS))
        self._tracer = self._provider.get_tracer("alpaserve")
        logging.getLogger("opentelemetry").addHandler(_ToOurLog())

    def serving(self, method: str, metadata: Metadata) -> Span | None:
        """The span of a call that has come in; None where the caller brings no trace and none begins with it."""
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        if TRACEPARENT not in carrier and method not in BEGINNING:
            return None
        return self._serving(method, carrier, None)

    def continued(self, name: str, traceparent: str, begin_s: float, **attributes: Any) -> Span:
        """The span of a message that came in outside of gRPC."""
        return self._serving(name, {TRACEPARENT: traceparent}, begin_s, **attributes)

    def close(self) -> None:
        """Send what is left, as long as that takes little time."""
        self._provider.force_flush(LAST_SEND_MS)
        self._provider.shutdown()

    def _serving(self, name: str, carrier: Mapping[str, str], begin_s: float | None, **attributes: Any) -> Span:
        offset_ns = time_ns() - monotonic_ns()
        parent = TraceContextTextMapPropagator().extract(carrier, Context())
        span = self._tracer.start_span(
            name,
            parent,
            trace.SpanKind.SERVER,
            named(attributes),
            start_time=None if begin_s is None else offset_ns + round(1e9 * begin_s),
        )
        return Span(self._tracer, span, offset_ns)


def named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"alpaserve.{name}": value for name, value in attributes.items()}


class _ToOurLog(logging.Handler):
    """A collector that is away costs traces and nothing else: the library's words become lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("traces_not_sent", why=record.getMessage())
