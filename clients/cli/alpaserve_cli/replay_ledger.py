"""The account of a replay under way: when each request is due, and how it ended."""

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
import numpy as np
from alpaserve.v1 import router_pb2
from alpaserve_client import AlpaServeClientError, DeadlineExceeded, SloUnattainable
from numpy.typing import NDArray

from alpaserve_cli.replay_outcomes import COUNTED, Outcome, ReplayResult
from services.core.workload import Workload

_LEAD_IN_S = 0.05


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a workload is sent.

    `slo_s` by model goes with the requests that bring none of their own; where there is neither,
    the router's own holds and every answer counts as on time. `speed` 2 sends in half the time.
    `timeout_s` bounds every call; `progress_every_s` is the pace of `on_progress`.
    """

    slo_s: Mapping[str, float] = field(default_factory=dict)
    speed: float = 1.0
    timeout_s: float = 60.0
    num_channels: int = 4
    connect_timeout_s: float = 10.0
    progress_every_s: float = 0.5

    def __post_init__(self) -> None:
        for name in ("speed", "timeout_s", "connect_timeout_s", "progress_every_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value!r}")
        if self.num_channels < 1:
            raise ValueError(f"num_channels must be at least 1, got {self.num_channels}")


@dataclass(frozen=True, slots=True)
class Progress:
    """The replay so far; `outcomes` counts the answered requests by class."""

    elapsed_s: float
    num_requests: int
    num_sent: int
    num_answered: int
    outcomes: Mapping[str, int]


class Ledger:
    """The per-request arrays while they fill."""

    def __init__(self, workload: Workload, options: ReplayOptions) -> None:
        num_requests = len(workload)
        self.names = workload.names
        self.model = workload.model
        self.arrival_s = (workload.arrival_s - (workload.arrival_s[0] if num_requests else 0.0)) / options.speed
        self.slo_s = request_slo(workload, options.slo_s)
        run = uuid.uuid4().hex[:12]
        self.request_id = [f"replay-{run}-{index}" for index in range(num_requests)]
        self._send_delay_s = np.full(num_requests, np.nan)
        self._latency_s = np.full(num_requests, np.nan)
        self._outcome = np.zeros(num_requests, dtype=np.int8)
        self._status: list[grpc.StatusCode | None] = [None] * num_requests
        self._group = [""] * num_requests
        self._placement_version = np.zeros(num_requests, dtype=np.int64)
        self._num_answers = np.zeros(num_requests, dtype=np.int64)
        self._num_sent = 0
        self._totals = dict.fromkeys(COUNTED, 0)
        self._started_s = 0.0

    def __len__(self) -> int:
        return len(self.arrival_s)

    def begin(self) -> None:
        """Let the time of the first arrival come."""
        self._started_s = time.monotonic() + _LEAD_IN_S

    def due_in_s(self, index: int) -> float:
        return float(self.arrival_s[index]) - self._elapsed_s()

    def note_sent(self, index: int) -> None:
        self._num_sent += 1
        self._send_delay_s[index] = self._elapsed_s() - self.arrival_s[index]

    def note_response(self, index: int, response: router_pb2.InferResponse) -> None:
        """Served if it came within its SLO, late otherwise."""
        latency_s = self._note_answer(index, grpc.StatusCode.OK)
        self._group[index] = response.group
        self._placement_version[index] = response.placement_version
        self._close(index, Outcome.LATE if latency_s > self.slo_s[index] else Outcome.SERVED)

    def note_error(self, index: int, error: AlpaServeClientError) -> None:
        self._note_answer(index, error.code)
        if isinstance(error, SloUnattainable):
            self._close(index, Outcome.REJECTED)
        elif isinstance(error, DeadlineExceeded):
            self._close(index, Outcome.LATE)
        else:
            self._close(index, Outcome.FAILED)

    def progress(self) -> Progress:
        outcomes = {kind.name.lower(): count for kind, count in self._totals.items()}
        answered = sum(outcomes.values())
        return Progress(max(self._elapsed_s(), 0.0), len(self), self._num_sent, answered, outcomes)

    def result(self) -> ReplayResult:
        return ReplayResult(
            names=self.names,
            model=self.model,
            arrival_s=self.arrival_s,
            slo_s=self.slo_s,
            send_delay_s=self._send_delay_s,
            latency_s=self._latency_s,
            outcome=self._outcome,
            status=self._status,
            request_id=self.request_id,
            group=self._group,
            placement_version=self._placement_version,
            num_answers=self._num_answers,
        )

    def _note_answer(self, index: int, status: grpc.StatusCode) -> float:
        latency_s = self._elapsed_s() - float(self.arrival_s[index])
        self._latency_s[index] = latency_s
        self._status[index] = status
        self._num_answers[index] += 1
        return latency_s

    def _close(self, index: int, outcome: Outcome) -> None:
        self._outcome[index] = outcome
        self._totals[outcome] += 1

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s


def request_slo(workload: Workload, slo_of: Mapping[str, float]) -> NDArray[np.float64]:
    """Every request's SLO (num_requests,): its own, else its model's, else infinite."""
    of_model = np.array([slo_of.get(name, math.inf) for name in workload.names])
    return np.where(np.isnan(workload.slo_s), of_model[workload.model], workload.slo_s)
