"""Infer: parse, dispatch, reply."""

import math
import uuid
from time import monotonic
from typing import Any

import grpc
from alpaserve.v1 import router_pb2, router_pb2_grpc
from alpaserve_client.tensors import decode_tensor
from prometheus_client import Counter, Histogram

from services.core.errors import AlpaServeError, InvalidArgument, InvalidInput, SloUnattainable
from services.infra.errors import status_of
from services.infra.wire import duration_s
from services.router.dispatcher import Call, Dispatcher, Reply

REQUESTS = Counter("alpaserve_requests", "Requests by outcome.", ["model", "outcome"])
LATENCY = Histogram("alpaserve_request_latency_seconds", "Arrival to reply of served requests.", ["model"])
PREDICTION_ERROR = Histogram(
    "alpaserve_prediction_error_seconds",
    "Actual minus predicted finish of served requests.",
    ["model"],
    buckets=(-0.1, -0.03, -0.01, -0.003, -0.001, 0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
)

Context = grpc.aio.ServicerContext[Any, Any]


class RouterServicer(router_pb2_grpc.RouterServicer):
    """The door for clients."""

    def __init__(self, dispatcher: Dispatcher, max_in_flight: int) -> None:
        self._dispatcher = dispatcher
        self._max_in_flight = max_in_flight
        self._num_in_flight = 0

    async def Infer(self, request: router_pb2.InferRequest, context: Context) -> router_pb2.InferResponse:
        arrival_s = monotonic()
        call = parse_call(request, arrival_s, context.time_remaining())
        model = call.model if call.model in self._dispatcher.view.deployment.models else ""
        try:
            reply = await self._infer(call)
        except AlpaServeError as error:
            REQUESTS.labels(model, status_of(error)[0].name.lower()).inc()
            raise
        except Exception:
            REQUESTS.labels(model, "internal").inc()
            raise
        REQUESTS.labels(model, "served").inc()
        served = reply.served
        latency_s = monotonic() - arrival_s
        LATENCY.labels(model).observe(latency_s)
        PREDICTION_ERROR.labels(model).observe(latency_s - reply.predicted_finish_s)
        return router_pb2.InferResponse(
            request_id=call.request_id,
            outputs=served.outputs,
            placement_version=reply.placement_version,
            group=reply.group,
            queue_time_s=served.queue_time_s,
            execution_time_s=served.execution_time_s,
            predicted_finish_s=reply.predicted_finish_s,
            batch_size=served.batch_size,
        )

    async def _infer(self, call: Call) -> Reply:
        if self._num_in_flight >= self._max_in_flight:
            raise SloUnattainable(f"this router holds {self._num_in_flight} requests already", math.inf, 0.0, 1.0)
        self._num_in_flight += 1
        try:
            return await self._dispatcher.infer(call)
        finally:
            self._num_in_flight -= 1


def parse_call(request: router_pb2.InferRequest, arrival_s: float, time_remaining_s: float | None) -> Call:
    """Raises: InvalidArgument or InvalidInput, naming the offending value."""
    if not request.model:
        raise InvalidArgument("model is empty")
    for name, tensor in request.inputs.items():
        try:
            decode_tensor(tensor)
        except ValueError as error:
            raise InvalidInput(f"input {name!r}: {error}") from None
    return Call(
        request_id=request.request_id or uuid.uuid4().hex,
        model=request.model,
        inputs=request.inputs,
        slo_s=duration_s(request.slo, "slo") if request.HasField("slo") else None,
        arrival_s=arrival_s,
        expires_s=math.inf if time_remaining_s is None else arrival_s + time_remaining_s,
    )
