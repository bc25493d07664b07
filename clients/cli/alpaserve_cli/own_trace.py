"""A trace that begins with a command, where ALPASERVE_OTLP_ENDPOINT names a collector; the services go on with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from services.core.errors import InvalidArgument


@contextmanager
def own_trace(command: str) -> Iterator[str]:
    """The trace's id, which is empty without a collector. Raises: InvalidArgument if the extra is missing."""
    endpoint = os.environ.get("ALPASERVE_OTLP_ENDPOINT", "")
    if not endpoint:
        yield ""
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise InvalidArgument("ALPASERVE_OTLP_ENDPOINT: traces need the extra alpaserve[tracing]") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "alpaserve-cli"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    trace.set_tracer_provider(provider)
    try:
        with trace.get_tracer("alpaserve_cli").start_as_current_span(command) as span:
            yield trace.format_trace_id(span.get_span_context().trace_id)
    finally:
        provider.shutdown()
