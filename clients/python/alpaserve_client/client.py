"""The client of the router, synchronous and asyncio: arrays in, arrays out."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping
from typing import Self

import grpc
from alpaserve.v1 import router_pb2, router_pb2_grpc
from numpy.typing import ArrayLike

from alpaserve_client.connection import (
    Connection,
    ConnectionOptions,
    async_retrying,
    connect_async,
    not_connected,
    retrying,
)
from alpaserve_client.errors import AlpaServeClientError, InvalidArgument, typed_errors
from alpaserve_client.inference import Inference, InferResult, result_of
from alpaserve_client.many import Answer, Flow, InferOutcome, InferRequest
from alpaserve_client.tracing import Metadata, infer_span


class Client(Connection):
    """Asks models through a router; one connection, safe to share between threads."""

    def __init__(self, address: str, options: ConnectionOptions | None = None) -> None:
        super().__init__(address, options)
        self._stub = router_pb2_grpc.RouterStub(self._channel)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        slo_s: float | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> InferResult:
        """Run a model on one example, its inputs without a batch dimension.

        `slo_s` is the allowed latency, the model's own if None; `timeout_s` bounds the call with
        its retries, the connection's if None. Outputs are read-only arrays.

        Raises: the AlpaServeClientError of the call's status; ValueError for an argument that
        cannot be sent.
        """
        return self._run(inference_of(InferRequest(model, inputs, slo_s, request_id, timeout_s), self._options))

    def infer_many(
        self, requests: Iterable[InferRequest], *, max_in_flight: int = 64, in_order: bool = False
    ) -> Generator[InferOutcome, None, None]:
        """Run requests side by side, `max_in_flight` of them at most; the next one is read when there is room for it.

        Outcomes come as requests end, or with `in_order` as they came; one that fails, or cannot be sent, has its
        error as the answer. Who stops early leaves what is under way to itself, until it ends or the client closes.

        Raises: ValueError if `max_in_flight` is less than 1.
        """
        return Flow(max_in_flight, in_order).in_threads(self._answer, requests)

    def _answer(self, request: InferRequest) -> Answer:
        try:
            inference = inference_of(request, self._options)
        except ValueError as error:
            return not_sendable(error)
        try:
            return self._run(inference)
        except AlpaServeClientError as error:
            return error

    def _run(self, inference: Inference) -> InferResult:
        with infer_span(inference.model, inference.request_id) as span:
            tries = retrying(self._options.num_retries, inference.patience_s)
            return span.answered(tries(self._try, inference, span.metadata))

    def _try(self, inference: Inference, metadata: Metadata) -> InferResult:
        with typed_errors():
            response: router_pb2.InferResponse = self._stub.Infer(
                inference.next_request(), timeout=inference.remaining_s(), metadata=metadata
            )
        return result_of(response)


class AsyncClient:
    """Asks models through a router from one event loop; make it where the loop runs."""

    def __init__(self, address: str, options: ConnectionOptions | None = None) -> None:
        self._options = options or ConnectionOptions()
        self._channel = connect_async(address, self._options)
        self._stub = router_pb2_grpc.RouterStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def wait_for_connection(self, timeout_s: float) -> None:
        """Connect now rather than with the first call. Raises: Unavailable if nobody is there in time."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), timeout_s)
        except TimeoutError:
            raise not_connected(timeout_s) from None

    async def close(self) -> None:
        """End the connection and the calls under way."""
        await self._channel.close(None)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        slo_s: float | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> InferResult:
        """The same as `Client.infer`; cancelling it cancels the request."""
        return await self._run(inference_of(InferRequest(model, inputs, slo_s, request_id, timeout_s), self._options))

    def infer_many(
        self,
        requests: Iterable[InferRequest] | AsyncIterable[InferRequest],
        *,
        max_in_flight: int = 64,
        in_order: bool = False,
    ) -> AsyncGenerator[InferOutcome, None]:
        """The same as `Client.infer_many`; closing the iterator cancels what is under way."""
        return Flow(max_in_flight, in_order).in_tasks(self._answer, requests)

    async def _answer(self, request: InferRequest) -> Answer:
        try:
            inference = inference_of(request, self._options)
        except ValueError as error:
            return not_sendable(error)
        try:
            return await self._run(inference)
        except AlpaServeClientError as error:
            return error

    async def _run(self, inference: Inference) -> InferResult:
        with infer_span(inference.model, inference.request_id) as span:
            tries = async_retrying(self._options.num_retries, inference.patience_s)
            return span.answered(await tries(self._try, inference, span.metadata))

    async def _try(self, inference: Inference, metadata: Metadata) -> InferResult:
        with typed_errors():
            response: router_pb2.InferResponse = await self._stub.Infer(
                inference.next_request(), timeout=inference.remaining_s(), metadata=metadata
            )
        return result_of(response)


def inference_of(request: InferRequest, options: ConnectionOptions) -> Inference:
    """Raises: ValueError for what cannot be sent."""
    timeout_s = options.timeout_s if request.timeout_s is None else request.timeout_s
    return Inference(request.model, request.inputs, request.slo_s, request.request_id, timeout_s)


def not_sendable(error: ValueError) -> InvalidArgument:
    return InvalidArgument(str(error), code=grpc.StatusCode.INVALID_ARGUMENT)
