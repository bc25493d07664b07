"""Traces of one process: which calls begin or go on with one, and what they tell, as a collector receives them."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from services.core.errors import NotPlaced
from services.infra.spans import Tracing
from services.infra.tracing import Traced, current_span, outgoing, start_tracing, within
from services.infra.tracing_settings import TracingSettings
from tests.collector import Collector, collecting

RECORDED = (("traceparent", f"00-{'c' * 32}-{'d' * 16}-01"),)
UNRECORDED = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-00"),)

SAMPLED = 1


class Servicer:
    """Some methods as services have them."""

    async def Plan(self, request: Any, context: Any) -> AsyncIterator[str]:
        with within("search", policy=request):
            yield "progress"
        yield "plan"

    async def ApplyPlan(self, request: Any, context: Any) -> tuple[tuple[str, str], ...]:
        structlog.get_logger().info("applied")
        with within("transition"):
            return outgoing()

    async def RollbackPlacement(self, request: Any, context: Any) -> None:
        raise NotPlaced("nothing to go back to")

    async def GetStatus(self, request: Any, context: Any) -> bool:
        return current_span() is not None


class Caller:
    """What a servicer asks of a call's context."""

    def __init__(self, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def sent(collector: Collector, *calls: tuple[str, Caller], ratio: float = 1.0) -> list[Any]:
    """Make each call in a task of its own, and send the spans; the answers, and errors."""

    async def asked() -> list[Any]:
        tracing = Tracing(collector.endpoint, ratio, "planner")
        traced: Any = Traced(Servicer(), tracing)
        answers = [
            await asyncio.gather(getattr(traced, name)("ours", by), return_exceptions=True) for name, by in calls
        ]
        await asyncio.to_thread(tracing.close)
        return [answer for (answer,) in answers]

    return asyncio.run(asked())


def test_a_call_begins_a_trace_or_goes_on_with_its_callers(collector: Collector) -> None:
    sent(collector, ("ApplyPlan", Caller()), ("ApplyPlan", Caller(RECORDED)))

    first, second = [span for span in collector.spans if span.name == "ApplyPlan"]
    assert (first.service, first.parent_id) == ("alpaserve-planner", "")
    assert (second.trace_id, second.parent_id) == ("c" * 32, "d" * 16)


def test_a_service_that_is_called_goes_on_below_what_is_under_way(collector: Collector) -> None:
    (metadata,) = sent(collector, ("ApplyPlan", Caller(RECORDED)))

    transition = collector.trace("c" * 32).one("transition")
    assert metadata == (("traceparent", f"00-{'c' * 32}-{transition.span_id}-01"),)


def test_a_poll_begins_no_trace_but_goes_on_with_one(collector: Collector) -> None:
    answers = sent(collector, ("GetStatus", Caller()), ("GetStatus", Caller(RECORDED)))

    assert answers == [False, True]
    assert [span.trace_id for span in collector.spans] == ["c" * 32]


@pytest.mark.parametrize("metadata", [UNRECORDED, ()])
def test_what_is_not_recorded_here_is_not_recorded_by_those_that_are_called(
    collector: Collector, metadata: tuple[tuple[str, str], ...]
) -> None:
    (told,) = sent(collector, ("ApplyPlan", Caller(metadata)), ratio=0.0)

    assert collector.spans == []
    assert int(dict(told)["traceparent"].split("-")[3], 16) & SAMPLED == 0


def test_a_refused_call_is_a_failed_span_that_says_why(collector: Collector) -> None:
    (error,) = sent(collector, ("RollbackPlacement", Caller()))

    assert isinstance(error, NotPlaced)
    assert [(span.name, span.has_failed) for span in collector.spans] == [("RollbackPlacement", True)]


def test_the_lines_of_a_log_name_the_trace(collector: Collector) -> None:
    with capture_logs([merge_contextvars]) as lines:
        sent(collector, ("ApplyPlan", Caller(RECORDED)))

    (line,) = [line for line in lines if line["event"] == "applied"]
    assert line["trace_id"] == "c" * 32


async def test_a_stream_is_a_span_until_it_ends(collector: Collector) -> None:
    tracing = Tracing(collector.endpoint, 1.0, "planner")
    traced: Any = Traced(Servicer(), tracing)

    told = [response async for response in traced.Plan("ours", Caller(RECORDED))]
    await asyncio.to_thread(tracing.close)

    trace = collector.trace("c" * 32)
    assert told == ["progress", "plan"]
    assert trace.one("search").of("policy") == "ours"
    assert trace.one("search").parent_id == trace.one("Plan").span_id


def test_a_collector_that_is_away_costs_a_line_in_the_log() -> None:
    away = Collector("http://127.0.0.1:1")
    with capture_logs() as lines:
        (metadata,) = sent(away, ("ApplyPlan", Caller()))

    assert metadata
    assert "traces_not_sent" in [line["event"] for line in lines]


@pytest.mark.parametrize(
    ("name", "value"),
    [("otlp_endpoint", "127.0.0.1:4317"), ("otlp_endpoint", "http://a/b"), ("trace_ratio", 1.5), ("trace_ratio", -0.1)],
)
def test_settings_that_mean_nothing_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        TracingSettings.model_validate({name: value})


def test_where_no_collector_is_named_nothing_is_traced_and_what_traces_is_not_imported() -> None:
    program = """
import sys
import services.router.__main__
from services.infra.tracing import current_span, outgoing, start_tracing
from services.infra.tracing_settings import TracingSettings
assert start_tracing(TracingSettings(), "router") is None
assert current_span() is None and outgoing() == ()
print([name for name in sys.modules if name.startswith(("services.infra.spans", "opentelemetry.exporter"))])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert ran.stdout.strip() == "[]"
    assert start_tracing(TracingSettings(), "router") is None
