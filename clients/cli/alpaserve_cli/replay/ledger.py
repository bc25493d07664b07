"""The account of a replay under way: when each request is due, and how it ended. A hundred bytes a request."""

import math
import time
from collections.abc import Mapping

import numpy as np
from alpaserve.v1 import router_pb2
from alpaserve_client import AlpaServeClientError, DeadlineExceeded, SloUnattainable
from numpy.typing import NDArray

from alpaserve_cli.replay.options import Progress, ReplayOptions
from alpaserve_cli.replay.outcomes import COUNTED, UNANSWERED, Outcome, ReplayResult
from services.core.workload import Workload

_OK = 0


class Ledger:
    """The per-request arrays while they fill. Arrivals count from the start of the replay."""

    def __init__(self, workload: Workload, options: ReplayOptions) -> None:
        count = len(workload)
        self.names = workload.names
        self.model = workload.model
        self.arrival_s = workload.arrival_s
        self.slo_s = request_slo(workload, options.slo_s)
        self._num_warm_up = options.num_warm_up
        self._send_delay_s, self._latency_s = _unknown(count), _unknown(count)
        self._queue_time_s, self._execution_time_s = _unknown(count), _unknown(count)
        self._predicted_finish_s = _unknown(count)
        self._outcome = np.zeros(count, dtype=np.int8)
        self._status = np.full(count, UNANSWERED, dtype=np.int8)
        self._group = np.full(count, UNANSWERED, dtype=np.int32)
        self._group_index: dict[str, int] = {}
        self._placement_version = np.zeros(count, dtype=np.int64)
        self._num_answers = np.zeros(count, dtype=np.int32)
        self._stage_begin_s, self._stage_end_s = np.empty((count, 0)), np.empty((count, 0))
        self._num_sent = self._num_answered = 0
        self._totals = dict.fromkeys(COUNTED, 0)
        self._begin_s = math.inf

    def __len__(self) -> int:
        return len(self.arrival_s)

    def begin(self, begin_s: float) -> None:
        """Let the arrivals count from this monotonic instant."""
        self._begin_s = begin_s

    def due_in_s(self, index: int) -> float:
        return float(self.arrival_s[index]) - self._elapsed_s()

    def note_sent(self, index: int) -> None:
        self._num_sent += 1
        self._send_delay_s[index] = self._elapsed_s() - self.arrival_s[index]

    def note_response(self, index: int, response: router_pb2.InferResponse) -> None:
        """Served if it came within its SLO, late otherwise."""
        latency_s = self._note_answer(index, _OK)
        self._group[index] = self._group_index.setdefault(response.group, len(self._group_index))
        self._placement_version[index] = response.placement_version
        self._queue_time_s[index] = response.queue_time_s
        self._execution_time_s[index] = response.execution_time_s
        self._predicted_finish_s[index] = response.predicted_finish_s
        self._note_stages(index, response)
        self._close(index, Outcome.LATE if latency_s > self.slo_s[index] else Outcome.SERVED)

    def note_error(self, index: int, error: AlpaServeClientError) -> None:
        self._note_answer(index, error.code.value[0])
        if isinstance(error, SloUnattainable):
            self._close(index, Outcome.REJECTED)
        elif isinstance(error, DeadlineExceeded):
            self._close(index, Outcome.LATE)
        else:
            self._close(index, Outcome.FAILED)

    def progress(self) -> Progress:
        outcomes = {kind.name.lower(): count for kind, count in self._totals.items()}
        elapsed_s = max(self._elapsed_s(), 0.0)
        return Progress(elapsed_s, len(self), self._num_sent, self._num_answered, outcomes)

    def result(self) -> ReplayResult:
        return ReplayResult(
            names=self.names,
            group_names=tuple(self._group_index),
            num_warm_up=self._num_warm_up,
            model=self.model,
            arrival_s=self.arrival_s,
            slo_s=self.slo_s,
            send_delay_s=self._send_delay_s,
            latency_s=self._latency_s,
            outcome=self._outcome,
            status=self._status,
            group=self._group,
            placement_version=self._placement_version,
            queue_time_s=self._queue_time_s,
            execution_time_s=self._execution_time_s,
            predicted_finish_s=self._predicted_finish_s,
            stage_begin_s=self._stage_begin_s,
            stage_end_s=self._stage_end_s,
            num_answers=self._num_answers,
        )

    def _note_answer(self, index: int, status: int) -> float:
        latency_s = self._elapsed_s() - float(self.arrival_s[index])
        self._latency_s[index] = latency_s
        self._status[index] = status
        self._num_answers[index] += 1
        self._num_answered += 1
        return latency_s

    def _note_stages(self, index: int, response: router_pb2.InferResponse) -> None:
        num_stages, num_columns = len(response.stages), self._stage_begin_s.shape[1]
        if num_stages > num_columns:
            more = np.full((len(self), num_stages - num_columns), np.nan)
            self._stage_begin_s = np.hstack([self._stage_begin_s, more])
            self._stage_end_s = np.hstack([self._stage_end_s, more])
        for stage, run in enumerate(response.stages):
            self._stage_begin_s[index, stage] = run.begin_s
            self._stage_end_s[index, stage] = run.end_s

    def _close(self, index: int, outcome: Outcome) -> None:
        self._outcome[index] = outcome
        if index >= self._num_warm_up:
            self._totals[outcome] += 1

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begin_s


def as_sent(workload: Workload, speed: float) -> Workload:
    """The workload on the clock of its replay: from its first arrival on, `speed` times as fast."""
    since_s = workload.arrival_s - (workload.arrival_s[0] if len(workload) else 0.0)
    return Workload(since_s / speed, workload.model, workload.slo_s, workload.names)


def request_slo(workload: Workload, slo_of: Mapping[str, float]) -> NDArray[np.float64]:
    """Every request's SLO (num_requests,): its own, else its model's, else infinite."""
    of_model = np.array([slo_of.get(name, math.inf) for name in workload.names])
    return np.where(np.isnan(workload.slo_s), of_model[workload.model], workload.slo_s)


def _unknown(count: int) -> NDArray[np.float64]:
    return np.full(count, np.nan)
