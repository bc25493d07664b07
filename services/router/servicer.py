"""Infer: receive, read the head, dispatch, reply. Tensors pass through unread.

On the wire a call with one message is a stream of one. Taken as a stream, it can be refused before its message is
read, and a caller who never finishes sending holds nothing for ever.
"""

import math
import uuid
from collections.abc import AsyncIterator
from itertools import count
from time import monotonic
from typing import Any

import grpc
from alpaserve.v1 import leader_pb2, router_pb2
from google.protobuf.message import DecodeError

from services.core.errors import DeadlinePassed, InvalidArgument
from services.infra.expiry import Expiries
from services.infra.wire import duration_s
from services.router.call import Call, Reply
from services.router.dispatcher import Dispatcher
from services.router.holdings import Holdings
from services.router.metrics import ServedMetrics, note_failure

Context = grpc.aio.ServicerContext[Any, Any]
ROUTER = router_pb2.DESCRIPTOR.services_by_name["Router"].full_name


class RouterServicer:
    """The door for clients."""

    def __init__(self, dispatcher: Dispatcher, holdings: Holdings, receive_timeout_s: float) -> None:
        self._dispatcher = dispatcher
        self._holdings = holdings
        self._receive_timeout_s = receive_timeout_s
        self._served: dict[str, ServedMetrics] = {}
        self._prefix = uuid.uuid4().hex[:16]
        self._numbers = count()
        self._expiries = Expiries()

    async def Infer(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """One serialized request in, one serialized response out."""
        model, num_bytes = "", 0
        try:
            self._holdings.enter()
            try:
                content = await self._received(context)
                num_bytes = self._holdings.take(len(content))
                call = self._call(content, context.time_remaining())
                del content
                model = call.model if call.model in self._dispatcher.groups.view.deployment.models else ""
                reply = await self._dispatcher.infer(call)
            finally:
                self._holdings.leave(num_bytes)
        except Exception as error:
            note_failure(model, error)
            raise
        self._metrics(model).note(monotonic() - call.arrival_s, reply.predicted_finish_s)
        return response(call.request_id, reply)

    async def _received(self, context: Context) -> bytes:
        """Raises: DeadlinePassed if the message takes too long; InvalidArgument if there is none."""
        try:
            with self._expiries.after(self._receive_timeout_s):
                content: Any = await context.read()
        except TimeoutError:
            raise DeadlinePassed(f"the request did not arrive within {self._receive_timeout_s} s") from None
        if not isinstance(content, bytes):
            raise InvalidArgument("the call has no message")
        return content

    def _call(self, content: bytes, time_remaining_s: float | None) -> Call:
        """Raises: InvalidArgument, naming the offending value."""
        arrival_s = monotonic()
        head = head_of(content)
        return Call(
            request_id=head.request_id or f"{self._prefix}{next(self._numbers):x}",
            model=head.model,
            content=content,
            slo_s=duration_s(head.slo, "slo") if head.HasField("slo") else None,
            arrival_s=arrival_s,
            expires_s=math.inf if time_remaining_s is None else arrival_s + time_remaining_s,
        )

    def _metrics(self, model: str) -> ServedMetrics:
        if model not in self._served:
            self._served[model] = ServedMetrics(model)
        return self._served[model]


def head_of(content: bytes) -> leader_pb2.InferHead:
    """What a router reads of a serialized InferRequest. Raises: InvalidArgument, naming the offending value."""
    try:
        head = leader_pb2.InferHead.FromString(content)
    except DecodeError:
        raise InvalidArgument(f"{len(content)} bytes that are no InferRequest") from None
    if not head.model:
        raise InvalidArgument("model is empty")
    return head


def response(request_id: str, reply: Reply) -> bytes:
    """A serialized InferResponse: of protobuf messages that follow each other, each adds its fields."""
    known = router_pb2.InferResponse(
        request_id=request_id,
        placement_version=reply.placement_version,
        group=reply.group,
        predicted_finish_s=reply.predicted_finish_s,
    )
    return known.SerializeToString() + reply.served.response


def add_router(servicer: RouterServicer, server: grpc.aio.Server) -> None:
    """Register `servicer` under the contract's name."""
    infer = grpc.stream_unary_rpc_method_handler(servicer.Infer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ROUTER, {"Infer": infer}),))
