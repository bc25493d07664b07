"""The Open Inference Protocol: parse, call, reply."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import version
from time import monotonic

import structlog
from alpaserve.oip.v2 import inference_pb2 as pb
from alpaserve.v1 import router_pb2

from services.core.errors import AlpaServeError, InvalidArgument
from services.infra.errors import Gate, told
from services.infra.security.authorization import passed_on
from services.infra.tracing import within
from services.router.call import Call, Reply
from services.router.door import Context, Door
from services.router.oip.descriptions import config_message, metadata_message
from services.router.oip.repository import Repository
from services.router.oip.request import VERSION, Request, check_version
from services.router.oip.statistics import Statistics
from services.router.oip.streaming import streamed

log = structlog.get_logger()

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics")
# For callers who load or unload without a deadline.
CHANGE_TIMEOUT_S = 600.0


class InferenceServicer:
    """The door for clients of the Open Inference Protocol."""

    def __init__(self, door: Door, repository: Repository, statistics: Statistics, gate: Gate) -> None:
        """Requests of a stream pass the gate as calls of their own would."""
        self._gate = gate
        self._door = door
        self._repository = repository
        self._statistics = statistics

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._repository.is_ready())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        check_version(request.name, request.version)
        return pb.ModelReadyResponse(ready=not self._repository.unready(request.name))

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="alpaserve", version=version("alpaserve"), extensions=EXTENSIONS)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        await self._check(request.name, request.version)
        return metadata_message(request.name, self._repository)

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        await self._check(request.name, request.version)
        return pb.ModelConfigResponse(config=config_message(request.name, self._repository))

    async def ModelInfer(self, requests: AsyncIterator[bytes], context: Context) -> pb.ModelInferResponse:
        return await self._infer(self._new_request(), context, partial(self._door.received, context))

    async def ModelStreamInfer(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        async for response in streamed(requests, partial(self._answer, context), self._gate):
            yield response

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        if request.name:
            await self._check(request.name, request.version)
        return self._statistics.of([request.name] if request.name else await self._repository.names())

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        reasons = {name: self._repository.unready(name) for name in await self._repository.names()}
        models = [
            pb.RepositoryIndexResponse.ModelIndex(
                name=name, version=VERSION, state="UNAVAILABLE" if reason else "READY", reason=reason
            )
            for name, reason in reasons.items()
            if not (request.ready and reason)
        ]
        return pb.RepositoryIndexResponse(models=models)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        if request.parameters:
            given = ", ".join(sorted(request.parameters))
            raise InvalidArgument(f"a model is loaded as it is registered, without parameters; got {given}")
        model = model_of(request)
        await self._repository.load(model, change_timeout_s(context), passed_on(context))
        return pb.RepositoryModelLoadResponse(model_name=model, is_loaded=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        model = model_of(request)
        await self._repository.unload(model, change_timeout_s(context), passed_on(context))
        return pb.RepositoryModelUnloadResponse(model_name=model, is_unloaded=True)

    async def _check(self, model: str, model_version: str) -> None:
        """Raises: UnknownModel."""
        check_version(model, model_version)
        await self._repository.check(model)

    def _new_request(self) -> Request:
        return Request(self._repository.signatures, self._door.new_request_id(), self._door.max_message_bytes)

    async def _infer(
        self, request: Request, context: Context, receive: Callable[[], Awaitable[bytes]]
    ) -> pb.ModelInferResponse:
        began_s = monotonic()

        def write(calls: Sequence[Call], replies: Sequence[Reply]) -> pb.ModelInferResponse:
            served = [router_pb2.InferResponse.FromString(reply.served.response) for reply in replies]
            answer = request.answer(replies, served)
            self._statistics.served(calls[0].model, monotonic() - calls[0].arrival_s, served)
            return answer

        try:
            return await self._door.infer(context, receive, request.read, write)
        except Exception:
            if self._repository.is_known(request.message.model_name):
                self._statistics.failed(request.message.model_name, monotonic() - began_s)
            raise

    async def _answer(self, context: Context, content: bytes) -> pb.ModelStreamInferResponse:
        """The answer to one request of a stream, or why there is none."""
        request = self._new_request()

        async def received() -> bytes:
            return content

        try:
            with within("ModelInfer"):
                return pb.ModelStreamInferResponse(infer_response=await self._infer(request, context, received))
        except Exception as error:
            if not isinstance(error, AlpaServeError):
                log.exception("call_failed", method="ModelStreamInfer")
            message = told(error) if isinstance(error, AlpaServeError) else "internal error"
        asked = pb.ModelInferResponse(model_name=request.message.model_name, id=request.message.id)
        return pb.ModelStreamInferResponse(error_message=message, infer_response=asked)


def model_of(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """From the field of Triton's clients, or from that of KServe's. Raises: InvalidArgument if both are empty."""
    model = request.model_name or request.repository_name
    if not model:
        raise InvalidArgument("model_name is empty")
    return model


def change_timeout_s(context: Context) -> float:
    left_s = context.time_remaining()
    return CHANGE_TIMEOUT_S if left_s is None else left_s
