"""The workload that a plan is made for, from a request's message or the live arrivals."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import structlog
from alpaserve.v1 import workload_pb2

from services.core.arrivals import gamma_workload, workload_from_counts
from services.core.errors import InvalidArgument, InvalidWorkload
from services.core.workload import Workload
from services.infra.store.arrivals import KEPT_S, ArrivalStore
from services.infra.wire import duration_s
from services.planner.policies.variations import MOST_REQUESTS

log = structlog.get_logger()

BUCKET_S = 1.0
ASSUMED_RATE_PER_S = 1.0
MIN_CV, MAX_CV = 1e-3, 100.0


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


def drawn_workload(message: workload_pb2.GammaProcess, seed: int) -> Workload:
    """Raises: InvalidWorkload for a process that is none or too large to draw."""
    length_s = duration_s(message.duration, "duration")
    if message.cv != 0 and not MIN_CV <= message.cv <= MAX_CV:
        raise InvalidWorkload(f"cv must be 0 or from {MIN_CV} to {MAX_CV}, got {message.cv}")
    num_expected = sum(message.rate_per_s.values()) * length_s
    if not num_expected <= MOST_REQUESTS:
        raise InvalidWorkload(f"{num_expected:g} requests are too many to draw; at most {MOST_REQUESTS}")
    return gamma_workload(dict(message.rate_per_s), message.cv, length_s, seed)


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
            return await asyncio.to_thread(drawn_workload, message.gamma, seed)
        window_s = self._live_window_s
        if kind == "live" and message.live.HasField("duration"):
            window_s = max(1, round(duration_s(message.live.duration, "live.duration")))
        if window_s > KEPT_S:
            raise InvalidArgument(f"live.duration is {window_s} s; arrivals are kept for {KEPT_S} s")
        return await self._live(window_s, models, seed)

    async def _live(self, window_s: int, models: Sequence[str], seed: int) -> Workload:
        """What arrived of late; before any request, as if every model had one a second."""
        counts = await self._arrivals.window(window_s)
        known: Mapping[str, np.ndarray] = {name: counts[name] for name in models if name in counts}
        if not known:
            log.info("no_live_arrivals", window_s=window_s, assumed_rate_per_s=ASSUMED_RATE_PER_S)
            return gamma_workload(dict.fromkeys(models, ASSUMED_RATE_PER_S), 1.0, float(window_s), seed)
        return workload_from_counts(known, BUCKET_S, seed)
