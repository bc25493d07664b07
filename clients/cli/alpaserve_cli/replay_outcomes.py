"""What became of a replayed workload, request by request and in sum."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from services.core.attainment import goodput_per_s, model_rows, summarize_latency


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
    """Arrays of (num_requests,), in the order of the workload.

    `arrival_s` is the scheduled arrival since the start, `send_delay_s` how much later it was sent,
    `latency_s` the reply's receipt minus the scheduled arrival; all NaN where unsent. `group` and
    `placement_version` are empty and 0 where not answered. `num_answers` counts replies, errors too.
    """

    names: tuple[str, ...]
    model: NDArray[np.int32]
    arrival_s: NDArray[np.float64]
    slo_s: NDArray[np.float64]
    send_delay_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    outcome: NDArray[np.int8]
    status: Sequence[grpc.StatusCode | None]
    request_id: Sequence[str]
    group: Sequence[str]
    placement_version: NDArray[np.int64]
    num_answers: NDArray[np.int64]

    @property
    def sent(self) -> NDArray[np.bool_]:
        return np.not_equal(self.outcome, Outcome.UNSENT.value)

    @property
    def attained(self) -> NDArray[np.bool_]:
        return np.equal(self.outcome, Outcome.SERVED.value)

    def num_outcomes(self, among: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Requests per class, of all or of those `among` (num_requests,) names."""
        outcome = self.outcome if among is None else self.outcome[among]
        return {kind.name.lower(): int((outcome == kind).sum()) for kind in COUNTED}


def summary(result: ReplayResult) -> dict[str, Any]:
    """The JSON document of a replay: the keys of a simulation, and what only a replay knows."""
    sent, attained = result.sent, result.attained
    num_sent, num_attained = int(sent.sum()), int(attained.sum())
    rows = model_rows(result.names, result.model[sent], attained[sent])
    return {
        "attainment": num_attained / num_sent if num_sent else None,
        "num_requests": num_sent,
        "goodput_per_s": goodput_per_s(num_attained, result.arrival_s[sent]),
        "latency_s": asdict(summarize_latency(result.latency_s[attained])),
        "outcomes": result.num_outcomes(),
        "models": {
            name: asdict(row) | _model_outcomes(result, index) for index, (name, row) in enumerate(rows.items())
        },
        "statuses": _statuses(result),
        "send_delay_s": asdict(summarize_latency(result.send_delay_s[sent])),
    }


def _model_outcomes(result: ReplayResult, index: int) -> dict[str, Any]:
    own = np.equal(result.model, index)
    latency_s = summarize_latency(result.latency_s[own & result.attained])
    return {"outcomes": result.num_outcomes(own), "latency_s": asdict(latency_s)}


def _statuses(result: ReplayResult) -> dict[str, int]:
    """Requests per gRPC status, OK left out."""
    names = [code.name for code in result.status if code is not None and code is not grpc.StatusCode.OK]
    return {name: names.count(name) for name in sorted(set(names))}
