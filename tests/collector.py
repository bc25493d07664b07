"""A collector of traces for the tests: it takes what processes really send over OTLP/gRPC."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.waiting import until


@dataclass(frozen=True)
class Received:
    """A span, its instants in nanoseconds of the epoch: as seconds, floats would round them."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    begin_ns: int
    end_ns: int
    attributes: dict[str, Any]
    events: tuple[str, ...]
    has_failed: bool

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    def of(self, name: str) -> Any:
        """An attribute of ours."""
        return self.attributes[f"alpaserve.{name}"]


@dataclass
class Trace:
    """What came of one trace, in the order it began."""

    spans: list[Received]

    def named(self, name: str) -> list[Received]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str, service: str = "") -> Received:
        (found,) = [span for span in self.named(name) if service in ("", span.service)]
        return found

    def leaves(self) -> list[Received]:
        """The spans in which there are no others."""
        parents = {span.parent_id for span in self.spans}
        return [span for span in self.spans if span.span_id not in parents]


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that it is sent."""

    endpoint: str = ""
    spans: list[Received] = field(default_factory=list)

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            service = values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans.extend(received(service, span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> Trace:
        """What has come of a trace so far."""
        mine = [span for span in self.spans if span.trace_id == trace_id]
        return Trace(sorted(mine, key=lambda span: span.begin_ns))

    async def latest(self, name: str, **attributes: Any) -> str:
        """The newest trace with a span of this name and these attributes of ours, once there is one."""
        wanted = {f"alpaserve.{key}": value for key, value in attributes.items()}.items()

        def found() -> list[str]:
            return [span.trace_id for span in self.spans if span.name == name and wanted <= span.attributes.items()]

        await until(found, 20)
        return found()[-1]

    async def whole(self, trace_id: str, *names: str) -> Trace:
        """A trace once spans of all these names have come."""
        await until(lambda: set(names) <= {span.name for span in self.trace(trace_id).spans}, 20)
        return self.trace(trace_id)


def values(attributes: Sequence[common_pb2.KeyValue]) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in attributes}


def value_of(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(one) for one in value.array_value.values]
    return getattr(value, str(kind))


def received(service: str, span: trace_pb2.Span) -> Received:
    return Received(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        values(span.attributes),
        tuple(event.name for event in span.events),
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector at a free port."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(None).wait()
