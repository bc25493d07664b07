"""A router of the tests: it speaks the protocol and does what it was told."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from alpaserve.v1 import router_pb2, router_pb2_grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status


def failure(code: int, message: str = "", *details: Any) -> grpc.Status:
    """A status with google.rpc details, as services send it."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=packed))


def rejection(**metadata: str) -> grpc.Status:
    """What a request that is predicted to be late is told."""
    info = error_details_pb2.ErrorInfo(reason="SLO_UNATTAINABLE", domain="alpaserve", metadata=metadata)
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000))
    return failure(code_pb2.RESOURCE_EXHAUSTED, "predicted to be late", info, retry)


@dataclass
class ScriptedRouter(router_pb2_grpc.RouterServicer):
    """Answers with the inputs after `delay_s`; the first `num_unavailable` tries of each request
    find nobody, and requests of a model in `failures` end with its status."""

    num_unavailable: int = 0
    delay_s: float = 0.0
    failures: dict[str, grpc.Status] = field(default_factory=dict)
    requests: list[router_pb2.InferRequest] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    traceparents: list[str] = field(default_factory=list)

    def Infer(self, request: router_pb2.InferRequest, context: grpc.ServicerContext) -> router_pb2.InferResponse:
        self.requests.append(request)
        metadata = context.invocation_metadata()
        self.traceparents += [str(value) for key, value in metadata if key == "traceparent"]
        self.tries[request.request_id] += 1
        if self.tries[request.request_id] <= self.num_unavailable:
            info = error_details_pb2.ErrorInfo(reason="DRAINING", domain="alpaserve")
            context.abort_with_status(failure(code_pb2.UNAVAILABLE, "draining", info))
        if request.model in self.failures:
            context.abort_with_status(self.failures[request.model])
        time.sleep(self.delay_s)
        return router_pb2.InferResponse(
            request_id=request.request_id,
            outputs=request.inputs,
            placement_version=7,
            group="g3",
            queue_time_s=0.125,
            execution_time_s=0.25,
            predicted_finish_s=0.5,
        )


@contextmanager
def serving(router: ScriptedRouter, *, num_threads: int = 64, port: int = 0) -> Iterator[str]:
    """The address of a real server."""
    server = grpc.server(ThreadPoolExecutor(num_threads))
    router_pb2_grpc.add_RouterServicer_to_server(router, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
