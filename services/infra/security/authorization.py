"""Lets a call in if its token is good for it, before its message is read."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import structlog
from prometheus_client import Counter

from services.core.errors import AlpaServeError
from services.infra.errors import abort, status_of
from services.infra.security.scopes import Access, ByRequest, need_of
from services.infra.security.tokens import Caller, Gatekeeper, Scope

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any
Metadata = Sequence[tuple[str, str | bytes]]
HEADER = "authorization"
REFUSED = Counter("alpaserve_calls_refused", "Calls refused for want of a token or a scope.", ["status"])


class Authorization(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Stands before every method of a server."""

    def __init__(self, gatekeeper: Gatekeeper) -> None:
        self._gatekeeper = gatekeeper

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        need = need_of(details.method)
        if handler is None or need is Access.ANYBODY:
            return handler
        try:
            caller = self._gatekeeper.caller(authorization_of(details.invocation_metadata))
            if isinstance(need, Scope):
                caller.require(need)
        except AlpaServeError as error:
            note_refusal(details.method, error)
            return refusing(error)
        return handler if isinstance(need, Scope | Access) else asking(handler, need, caller)


def authorization_of(metadata: Any) -> str | None:
    return next((str(value) for name, value in metadata or () if name == HEADER), None)


def passed_on(context: Context) -> Metadata:
    """What a call shows that is made for another one: the token of whoever asked."""
    shown = authorization_of(context.invocation_metadata())
    return () if shown is None else ((HEADER, shown),)


def note_refusal(method: str, error: AlpaServeError) -> None:
    status = status_of(error)[0].name
    REFUSED.labels(status).inc()
    log.debug("call_refused", method=method, status=status, why=str(error))


def refusing(error: AlpaServeError) -> Handler:
    """Taken as a stream, a call can be refused before its message is read."""

    async def refuse(_requests: object, context: Context) -> None:
        await abort(context, error)

    return grpc.stream_stream_rpc_method_handler(refuse)


def asking(handler: Handler, need: ByRequest, caller: Caller) -> Handler:
    """A handler with one request and a stream of responses, which needs what its request says."""

    async def checked(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            caller.require(need(request))
        except AlpaServeError as error:
            note_refusal("by request", error)
            await abort(context, error)
        async for response in handler.unary_stream(request, context):
            yield response

    return grpc.unary_stream_rpc_method_handler(checked, handler.request_deserializer, handler.response_serializer)
