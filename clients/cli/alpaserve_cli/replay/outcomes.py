"""What became of a replayed workload, request by request and in sum."""

from collections import Counter
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from services.core.attainment import goodput_per_s, model_rows, summarize_latency
from services.core.workload import Workload

UNANSWERED = -1
# A generator that is later than this, or than this share of the SLO, measures itself.
_LATE_S = 0.01
_LATE_SHARE = 0.02
_STATUS_NAME = {code.value[0]: code.name for code in grpc.StatusCode}


class Outcome(IntEnum):
    """The class of a request's end. UNSENT ones, of a replay that was stopped, count nowhere."""

    UNSENT = 0
    SERVED = 1
    LATE = 2
    REJECTED = 3
    FAILED = 4


COUNTED = (Outcome.SERVED, Outcome.LATE, Outcome.REJECTED, Outcome.FAILED)


@dataclass(frozen=True, slots=True, eq=False)
class ReplayResult:
    """Arrays of (num_requests,), in the order of the workload; seconds.

    `arrival_s` is the scheduled arrival since the start, `send_delay_s` how much later it was sent,
    `latency_s` the reply's receipt minus the scheduled arrival; all NaN where unsent. `status` is the
    gRPC status's number, -1 unanswered; `group` indexes `group_names`, -1 where no group answered;
    `queue_time_s`, `execution_time_s` and `predicted_finish_s` are as the group tells them.
    `stage_begin_s` and `stage_end_s` (num_requests, num_stages) count from the arrival at the leader.
    `num_answers` counts replies, errors too. The first `num_warm_up` requests count nowhere.
    """

    names: tuple[str, ...]
    group_names: tuple[str, ...]
    num_warm_up: int
    model: NDArray[np.int32]
    arrival_s: NDArray[np.float64]
    slo_s: NDArray[np.float64]
    send_delay_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    outcome: NDArray[np.int8]
    status: NDArray[np.int8]
    group: NDArray[np.int32]
    placement_version: NDArray[np.int64]
    queue_time_s: NDArray[np.float64]
    execution_time_s: NDArray[np.float64]
    predicted_finish_s: NDArray[np.float64]
    stage_begin_s: NDArray[np.float64]
    stage_end_s: NDArray[np.float64]
    num_answers: NDArray[np.int32]

    @property
    def sent(self) -> NDArray[np.bool_]:
        return np.not_equal(self.outcome, Outcome.UNSENT.value)

    @property
    def attained(self) -> NDArray[np.bool_]:
        return np.equal(self.outcome, Outcome.SERVED.value)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Those that were sent after the warm-up: what figures are about."""
        counted = self.sent
        counted[: self.num_warm_up] = False
        return counted

    def requests(self, chosen: NDArray[np.bool_]) -> Workload:
        """The chosen ones (num_requests,) as a workload, with the SLOs that they were sent with."""
        slo_s = np.where(np.isinf(self.slo_s), np.nan, self.slo_s)
        return Workload(self.arrival_s[chosen], self.model[chosen], slo_s[chosen], self.names)

    def status_names(self, chosen: NDArray[np.int64] | slice = slice(None)) -> list[str]:
        """The gRPC status of each request, or of the `chosen`; empty where unanswered."""
        return [_STATUS_NAME.get(code, "") for code in self.status[chosen].tolist()]

    @property
    def attainment(self) -> float | None:
        counted = self.counted
        return float(self.attained[counted].mean()) if counted.any() else None

    @property
    def is_generator_late(self) -> bool:
        """Whether requests went out so late that the figures are the generator's as well: the 99th percentile is
        above 10 ms and above a fiftieth of the usual SLO."""
        counted = self.counted
        if not counted.any():
            return False
        slo_s = self.slo_s[counted & np.isfinite(self.slo_s)]
        tolerable_s = max(_LATE_S, _LATE_SHARE * float(np.median(slo_s)) if len(slo_s) else 0.0)
        return float(np.percentile(self.send_delay_s[counted], 99)) > tolerable_s

    def num_outcomes(self, among: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Requests per class, of all that count or of those `among` (num_requests,) names."""
        outcome = self.outcome[self.counted if among is None else self.counted & among]
        return {kind.name.lower(): int((outcome == kind).sum()) for kind in COUNTED}


def summary(result: ReplayResult) -> dict[str, Any]:
    """The JSON document of a replay: the keys of a simulation, and what only a replay knows."""
    counted = result.counted
    attained = result.attained & counted
    num_counted, num_attained = int(counted.sum()), int(attained.sum())
    rows = model_rows(result.names, result.model[counted], attained[counted])
    return {
        "attainment": num_attained / num_counted if num_counted else None,
        "num_requests": num_counted,
        "goodput_per_s": goodput_per_s(num_attained, result.arrival_s[counted]),
        "latency_s": asdict(summarize_latency(result.latency_s[attained])),
        "outcomes": result.num_outcomes(),
        "models": {
            name: asdict(row) | _model_outcomes(result, attained, index)
            for index, (name, row) in enumerate(rows.items())
        },
        "statuses": _statuses(result.status[counted]),
        "send_delay_s": _send_delay(result.send_delay_s[counted]),
        "sent_per_s": goodput_per_s(num_counted, result.arrival_s[counted]),
        "is_generator_late": result.is_generator_late,
        "num_warm_up": int(result.sent[: result.num_warm_up].sum()),
    }


def _model_outcomes(result: ReplayResult, attained: NDArray[np.bool_], index: int) -> dict[str, Any]:
    own = np.equal(result.model, index)
    latency_s = summarize_latency(result.latency_s[own & attained])
    return {"outcomes": result.num_outcomes(own), "latency_s": asdict(latency_s)}


def _statuses(status: NDArray[np.int8]) -> dict[str, int]:
    """Requests per gRPC status, OK left out."""
    counts = Counter(_STATUS_NAME[code] for code in status[status > 0].tolist())
    return dict(sorted(counts.items()))


def _send_delay(delay_s: NDArray[np.float64]) -> dict[str, float | None]:
    return asdict(summarize_latency(delay_s)) | {"max": float(delay_s.max()) if len(delay_s) else None}
