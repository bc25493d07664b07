"""A program that traces and asks a model twice, as a user's would: `python -m tests.e2e.traced_client ROUTER MODEL
COLLECTOR` prints, of the second request, the trace and the latency in seconds by a clock of its own."""

import json
import sys
import time

import numpy as np
from alpaserve_client import Client
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def main() -> None:
    router, model, collector = sys.argv[1:]
    provider = TracerProvider(resource=Resource.create({"service.name": "user"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector)))
    trace.set_tracer_provider(provider)
    inputs = {"input_ids": np.arange(4)}
    with Client(router) as client:
        client.infer(model, inputs)
        with trace.get_tracer("user").start_as_current_span("page") as page:
            begun_s = time.perf_counter()
            client.infer(model, inputs)
            latency_s = time.perf_counter() - begun_s
    provider.shutdown()
    trace_id = trace.format_trace_id(page.get_span_context().trace_id)
    print(json.dumps({"trace_id": trace_id, "latency_s": latency_s}))


if __name__ == "__main__":
    main()
