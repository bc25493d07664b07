"""What became of a router's requests: counted as they end, told to Prometheus when it asks, and to the shared store
once a heartbeat."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from time import monotonic

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from services.core.errors import DeadlinePassed, InvalidArgument, SloUnattainable, UnknownModel
from services.infra.meters import ERROR_BOUNDS_S, LATENCY_BOUNDS_S, Distribution, histogram
from services.infra.store.activity import Deadlines
from services.router.call import Call, Reply


class Outcome(StrEnum):
    """How a request ended. Callers' own mistakes and cancellations are no matter of attainment."""

    SERVED = "served"
    LATE = "late"
    REJECTED = "rejected"
    FAILED = "failed"
    INVALID = "invalid"
    CANCELLED = "cancelled"


# A caller's clock may be ahead by so much of what the network took.
HANGING_UP_S = 0.02
MISSED = (Outcome.LATE, Outcome.REJECTED, Outcome.FAILED)


class ModelRequests:
    """Those of one model. Latency and prediction are of all that were answered, late ones included."""

    __slots__ = ("latency_s", "num", "prediction_error_s")

    def __init__(self) -> None:
        self.num: Counter[Outcome] = Counter()
        self.latency_s = Distribution(LATENCY_BOUNDS_S)
        self.prediction_error_s = Distribution(ERROR_BOUNDS_S)

    @property
    def deadlines(self) -> Deadlines:
        return Deadlines(self.num[Outcome.SERVED], sum(self.num[outcome] for outcome in MISSED))


class Requests(Collector):
    """All requests by model. Those that were refused unread, or name a model that no arrivals were counted of, go by
    the empty name: callers make no labels."""

    def __init__(self) -> None:
        self._models: dict[str, ModelRequests] = {}
        self.arrivals: Counter[str] = Counter()
        self._told: tuple[Counter[str], dict[str, Deadlines]] = Counter(), {}

    def answered(self, call: Call, reply: Reply) -> Outcome:
        """With an answer, in time or late."""
        now_s = monotonic()
        latency_s = now_s - call.arrival_s
        requests = self._of(call.model)
        outcome = Outcome.SERVED if now_s <= call.deadline_s else Outcome.LATE
        requests.num[outcome] += 1
        requests.latency_s.observe(latency_s)
        requests.prediction_error_s.observe(reply.predicted_finish_s - (reply.at_s - call.arrival_s))
        return outcome

    def ended(self, call: Call, error: BaseException) -> Outcome:
        """Without an answer. Who hangs up as the deadline passes is told no less that it did."""
        outcome = outcome_of(error)
        if outcome is Outcome.CANCELLED and monotonic() > call.deadline_s - HANGING_UP_S:
            outcome = Outcome.LATE
        self._of(call.model).num[outcome] += 1
        return outcome

    def news(self) -> tuple[dict[str, int], dict[str, Deadlines]]:
        """Arrivals and deadlines of known models since the last call."""
        arrivals, deadlines = self._told
        self._told = self.arrivals.copy(), {name: one.deadlines for name, one in self._models.items() if name}
        ended = {name: one - deadlines.get(name, Deadlines()) for name, one in self._told[1].items()}
        return dict(self._told[0] - arrivals), ended

    def collect(self) -> Iterator[Metric]:
        """Called from the thread that Prometheus is answered in."""
        models = dict(self._models)
        ended = CounterMetricFamily("alpaserve_requests", "Requests that ended.", labels=["model", "outcome"])
        deadlines = CounterMetricFamily(
            "alpaserve_deadlines", "Requests by whether they met their deadline.", labels=["model", "result"]
        )
        arrivals = CounterMetricFamily("alpaserve_arrivals", "Requests that arrived.", labels=["model"])
        for model, requests in models.items():
            for outcome in Outcome:
                ended.add_metric([model, outcome], requests.num[outcome])
            deadlines.add_metric([model, "met"], requests.deadlines.num_met)
            deadlines.add_metric([model, "missed"], requests.deadlines.num_missed)
        for model, count in dict(self.arrivals).items():
            arrivals.add_metric([model], count)
        yield from (ended, deadlines, arrivals)
        yield histogram(
            "alpaserve_request_latency_seconds",
            "Arrival to answer.",
            "model",
            {model: requests.latency_s for model, requests in models.items()},
        )
        yield histogram(
            "alpaserve_prediction_error_seconds",
            "Predicted minus actual finish of answered requests.",
            "model",
            {model: requests.prediction_error_s for model, requests in models.items()},
        )

    def _of(self, model: str) -> ModelRequests:
        known = model if model in self.arrivals else ""
        requests = self._models.get(known)
        if requests is None:
            requests = self._models[known] = ModelRequests()
        return requests


def outcome_of(error: BaseException) -> Outcome:
    """The class of a request that ended without an answer."""
    if isinstance(error, DeadlinePassed):
        return Outcome.LATE
    if isinstance(error, SloUnattainable):
        return Outcome.REJECTED
    if isinstance(error, InvalidArgument | UnknownModel):
        return Outcome.INVALID
    return Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.FAILED
