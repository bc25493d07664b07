"""The workload that a plan is made for, from a request's message or the live arrivals."""

from collections.abc import Mapping, Sequence

import numpy as np
import structlog
from alpaserve.v1 import workload_pb2

from services.core.arrivals import gamma_workload, workload_from_counts
from services.core.workload import Workload
from services.infra.store.arrivals import ArrivalStore
from services.infra.wire import duration_s

log = structlog.get_logger()

BUCKET_S = 1.0
ASSUMED_RATE_PER_S = 1.0


def exact_workload(message: workload_pb2.Arrivals) -> Workload:
    """Raises: InvalidWorkload, naming the offending request."""
    num_requests = len(message.arrival_s)
    slo_s = np.array(message.slo_s, dtype=np.float64) if message.slo_s else np.full(num_requests, np.nan)
    return Workload(
        np.array(message.arrival_s, dtype=np.float64),
        np.array(message.model, dtype=np.int32),
        slo_s,
        tuple(message.names),
    )


class WorkloadSource:
    """Makes workloads of messages."""

    def __init__(self, arrivals: ArrivalStore, live_window_s: int) -> None:
        self._arrivals = arrivals
        self._live_window_s = live_window_s

    async def make(self, message: workload_pb2.Workload, models: Sequence[str], seed: int) -> Workload:
        """Raises: InvalidWorkload for one without requests or with models that are not planned for."""
        kind = message.WhichOneof("source")
        if kind == "arrivals":
            return exact_workload(message.arrivals)
        if kind == "gamma":
            gamma = message.gamma
            return gamma_workload(dict(gamma.rate_per_s), gamma.cv, duration_s(gamma.duration, "duration"), seed)
        window_s = self._live_window_s
        if kind == "live" and message.live.HasField("duration"):
            window_s = max(1, round(duration_s(message.live.duration, "live.duration")))
        return await self._live(window_s, models, seed)

    async def _live(self, window_s: int, models: Sequence[str], seed: int) -> Workload:
        """What arrived of late; before any request, as if every model had one a second."""
        counts = await self._arrivals.window(window_s)
        known: Mapping[str, np.ndarray] = {name: counts[name] for name in models if name in counts}
        if not known:
            log.info("no_live_arrivals", window_s=window_s, assumed_rate_per_s=ASSUMED_RATE_PER_S)
            return gamma_workload(dict.fromkeys(models, ASSUMED_RATE_PER_S), 1.0, float(window_s), seed)
        return workload_from_counts(known, BUCKET_S, seed)
