"""What a router tells Prometheus of its requests."""

from prometheus_client import Counter, Histogram

from services.core.errors import AlpaServeError
from services.infra.errors import status_of

REQUESTS = Counter("alpaserve_requests", "Requests by outcome.", ["model", "outcome"])
LATENCY = Histogram("alpaserve_request_latency_seconds", "Arrival to reply of served requests.", ["model"])
PREDICTION_ERROR = Histogram(
    "alpaserve_prediction_error_seconds",
    "Actual minus predicted finish of served requests.",
    ["model"],
    buckets=(-0.1, -0.03, -0.01, -0.003, -0.001, 0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
)


class ServedMetrics:
    """Those of one model's served requests; finding them by their labels takes longer than counting."""

    def __init__(self, model: str) -> None:
        self._requests = REQUESTS.labels(model, "served")
        self._latency = LATENCY.labels(model)
        self._prediction_error = PREDICTION_ERROR.labels(model)

    def note(self, latency_s: float, predicted_s: float) -> None:
        self._requests.inc()
        self._latency.observe(latency_s)
        self._prediction_error.observe(latency_s - predicted_s)


def note_failure(model: str, error: Exception) -> None:
    """Count a request that was not served; `model` is empty where no placement names it."""
    outcome = status_of(error)[0].name.lower() if isinstance(error, AlpaServeError) else "internal"
    REQUESTS.labels(model, outcome).inc()
