"""The client of the router, synchronous and asyncio: arrays in, arrays out."""

from collections.abc import Mapping
from typing import Self

from alpaserve.v1 import router_pb2, router_pb2_grpc
from numpy.typing import ArrayLike

from alpaserve_client.connection import Connection, ConnectionOptions, async_retrying, connect_async, retrying
from alpaserve_client.errors import typed_errors
from alpaserve_client.inference import Inference, InferResult, result_of
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
        allowed_s = self._options.timeout_s if timeout_s is None else timeout_s
        inference = Inference(model, inputs, slo_s, request_id, allowed_s)
        with infer_span(model, inference.request_id) as span:
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
        allowed_s = self._options.timeout_s if timeout_s is None else timeout_s
        inference = Inference(model, inputs, slo_s, request_id, allowed_s)
        with infer_span(model, inference.request_id) as span:
            tries = async_retrying(self._options.num_retries, inference.patience_s)
            return span.answered(await tries(self._try, inference, span.metadata))

    async def _try(self, inference: Inference, metadata: Metadata) -> InferResult:
        with typed_errors():
            response: router_pb2.InferResponse = await self._stub.Infer(
                inference.next_request(), timeout=inference.remaining_s(), metadata=metadata
            )
        return result_of(response)
