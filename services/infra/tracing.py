"""Where traces are on, the span that this task works on; where they are off, nothing.

Off is the default: then nothing of ours imports OpenTelemetry, and `current_span` is None at the cost of a look.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

import structlog

from services.infra.tracing_settings import TracingSettings

if TYPE_CHECKING:
    from services.infra.spans import Span, Tracing

UnaryMethod = Callable[[Any, Any], Awaitable[Any]]
StreamMethod = Callable[[Any, Any], AsyncIterator[Any]]

_current: ContextVar["Span | None"] = ContextVar("span", default=None)


def start_tracing(settings: TracingSettings, service: str) -> "Tracing | None":
    """The traces of this process, to be closed at its end; None if no collector is named."""
    if not settings.otlp_endpoint:
        return None
    from services.infra.spans import Tracing

    return Tracing(settings.otlp_endpoint, settings.trace_ratio, service)


def current_span() -> "Span | None":
    """What this task works on, if that is recorded."""
    span = _current.get()
    return span if span is not None and span.is_recorded else None


def note(**attributes: Any) -> None:
    """Say more of what this task works on, if that is recorded."""
    span = current_span()
    if span is not None:
        span.note(**attributes)


def outgoing() -> tuple[tuple[str, str], ...]:
    """Metadata for a call to another service, which goes on with the trace, or leaves it as unrecorded as it is."""
    span = _current.get()
    return () if span is None else (("traceparent", span.traceparent),)


@contextmanager
def within(name: str, **attributes: Any) -> Iterator["Span | None"]:
    """Let the block be a span in what this task works on, if that is recorded."""
    parent = current_span()
    if parent is None:
        yield None
        return
    with _working_on(parent.child(name, **attributes)) as span:
        yield span


class Traced:
    """A servicer each of whose calls is a span."""

    def __init__(self, servicer: object, tracing: "Tracing") -> None:
        methods: list[tuple[str, Any]] = inspect.getmembers(servicer, callable)
        for name, method in methods:
            if name[0].isupper():
                trace = _traced_stream if inspect.isasyncgenfunction(method) else _traced_unary
                setattr(self, name, trace(method, tracing))


def _traced_unary(method: UnaryMethod, tracing: "Tracing") -> UnaryMethod:
    @wraps(method)
    async def traced(request: Any, context: Any) -> Any:
        with _call(tracing, method.__name__, context):
            return await method(request, context)

    return traced


def _traced_stream(method: StreamMethod, tracing: "Tracing") -> StreamMethod:
    @wraps(method)
    async def traced(request: Any, context: Any) -> AsyncIterator[Any]:
        with _call(tracing, method.__name__, context):
            async for response in method(request, context):
                yield response

    return traced


@contextmanager
def _call(tracing: "Tracing", method: str, context: Any) -> Iterator[None]:
    """A call has a task of its own: all that it logs from now on names the trace."""
    span = tracing.serving(method, context.invocation_metadata() or ())
    if span is None:
        yield
        return
    if span.is_recorded:
        structlog.contextvars.bind_contextvars(trace_id=span.trace_id)
    with _working_on(span):
        yield


@contextmanager
def _working_on(span: "Span") -> Iterator["Span"]:
    before = _current.get()
    _current.set(span)
    failure = ""
    try:
        yield span
    except BaseException as error:
        failure = str(error) or type(error).__name__
        raise
    finally:
        span.end(failure=failure)
        # Who closes a stream early does so from another task, where a token would be of no use.
        _current.set(before)
