"""Infer: read the head, dispatch, reply. Tensors pass through unread."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from time import monotonic

import grpc
from alpaserve.v1 import leader_pb2, router_pb2
from google.protobuf.message import DecodeError

from services.core.errors import InvalidArgument
from services.infra.wire import duration_s
from services.router.call import Call, Reply
from services.router.door import Context, Door

ROUTER = router_pb2.DESCRIPTOR.services_by_name["Router"].full_name


class RouterServicer:
    """The door for clients of our own protocol."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def Infer(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """One serialized request in, one serialized response out."""
        return await self._door.infer(context, partial(self._door.received, context), self._read, response)

    def _read(self, content: bytes, arrival_s: float, expires_s: float) -> list[Call]:
        """Raises: InvalidArgument, naming the offending value."""
        head = head_of(content)
        return [
            Call(
                request_id=head.request_id or self._door.new_request_id(),
                model=head.model,
                content=content,
                slo_s=duration_s(head.slo, "slo") if head.HasField("slo") else None,
                arrival_s=arrival_s,
                expires_s=expires_s,
            )
        ]


def head_of(content: bytes) -> leader_pb2.InferHead:
    """What a router reads of a serialized InferRequest. Raises: InvalidArgument, naming the offending value."""
    try:
        head = leader_pb2.InferHead.FromString(content)
    except DecodeError:
        raise InvalidArgument(f"{len(content)} bytes that are no InferRequest") from None
    if not head.model:
        raise InvalidArgument("model is empty")
    return head


def response(calls: Sequence[Call], replies: Sequence[Reply]) -> bytes:
    """A serialized InferResponse: of protobuf messages that follow each other, each adds its fields."""
    (call,), (reply,) = calls, replies
    known = router_pb2.InferResponse(
        request_id=call.request_id,
        placement_version=reply.placement_version,
        group=reply.group,
        predicted_finish_s=reply.predicted_finish_s,
        router_time_s=monotonic() - call.arrival_s,
    )
    return known.SerializeToString() + reply.served.response


def add_router(servicer: RouterServicer, server: grpc.aio.Server) -> None:
    """Register `servicer` under the contract's name."""
    infer = grpc.stream_unary_rpc_method_handler(servicer.Infer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ROUTER, {"Infer": infer}),))
