"""Asking the door for clients of the Open Inference Protocol."""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import pytest
from alpaserve.oip.v2 import inference_pb2 as pb
from google.protobuf.message import Message
from grpc import aio

from services.infra.spans import Tracing
from services.infra.tracing import Traced
from services.router.oip.servicer import InferenceServicer
from tests.collector import Trace, collecting

SERVICE = "/inference.GRPCInferenceService"
LARGEST_BYTES, MAX_IN_FLIGHT = 10_000, 50


class Streaming:
    """What is asked of the context of a stream that goes on with a trace."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("traceparent", f"00-{'c' * 32}-{'d' * 16}-01"),)

    def time_remaining(self) -> None:
        return None


async def answer(channel: aio.Channel, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    infer: Any = channel.unary_unary(f"{SERVICE}/ModelInfer", None, None)
    return pb.ModelInferResponse.FromString(await infer(request.SerializeToString(), timeout=10))


async def refusal(channel: aio.Channel, method: str, request: Message) -> tuple[grpc.StatusCode, str]:
    call: Any = channel.unary_unary(f"{SERVICE}/{method}", None, None)
    with pytest.raises(aio.AioRpcError) as refused:
        await call(request.SerializeToString(), timeout=10)
    return refused.value.code(), str(refused.value.details())


async def traced(
    servicer: InferenceServicer, requests: Iterable[pb.ModelInferRequest]
) -> tuple[Trace, list[pb.ModelStreamInferResponse]]:
    """The trace of a stream of requests that brings one, and its answers."""

    async def sent() -> Any:
        for request in requests:
            yield request.SerializeToString()

    with collecting() as collector:
        tracing = Tracing(collector.endpoint, 1.0, "router")
        door: Any = Traced(servicer, tracing)
        answers = [answer async for answer in door.ModelStreamInfer(sent(), Streaming())]
        await asyncio.to_thread(tracing.close)
    return collector.trace("c" * 32), answers
