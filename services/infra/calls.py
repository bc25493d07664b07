"""The gRPC calls of a process: under way, and how they ended."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import grpc
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class Method:
    """The calls of one method."""

    __slots__ = ("codes", "num_under_way")

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.num_under_way = 0


class UnderWay:
    """One call, for as long as the block lasts."""

    __slots__ = ("_context", "_method")

    def __init__(self, method: Method, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._method = method
        self._context = context

    def __enter__(self) -> None:
        self._method.num_under_way += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._method.num_under_way -= 1
        self._method.codes["OK" if error is None else code_of(error, self._context)] += 1


def code_of(error: BaseException, context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The name of the status that a call ends with. A caller that hangs up, or goes away from a stream, cancels it."""
    if isinstance(error, grpc.aio.AbortError):
        code: Any = context.code()
        return CODES.get(code, "UNKNOWN") if isinstance(code, int) else str(getattr(code, "name", "UNKNOWN"))
    return "CANCELLED" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "UNKNOWN"


class Calls(Collector):
    """Those of all services of a process. Whether it serves is what its health check says."""

    def __init__(self) -> None:
        self._methods: dict[tuple[str, str], Method] = {}
        self.is_serving = False

    def method(self, service: str, name: str) -> Method:
        return self._methods.setdefault((service, name), Method())

    def collect(self) -> Iterator[Metric]:
        """Called from the thread that Prometheus is answered in."""
        serving = GaugeMetricFamily("alpaserve_grpc_serving", "Whether health checks are answered with SERVING.")
        serving.add_metric([], float(self.is_serving))
        labels = ["service", "method"]
        ended = CounterMetricFamily("alpaserve_grpc_calls", "gRPC calls that ended.", labels=[*labels, "code"])
        under_way = GaugeMetricFamily("alpaserve_grpc_calls_in_flight", "gRPC calls under way.", labels=labels)
        for names, method in dict(self._methods).items():
            under_way.add_metric(names, method.num_under_way)
            for code in sorted({"OK", *method.codes}):
                ended.add_metric([*names, code], method.codes[code])
        yield from (serving, ended, under_way)
