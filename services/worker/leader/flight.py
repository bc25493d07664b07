"""A request between admission and its end, and how it may end."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from services.worker.leader.executor import Replica, Tensors


class Failure(Enum):
    """Why a request has no outputs."""

    INVALID_INPUT = "invalid input"
    NOT_LOADED = "model not loaded"
    DRAINING = "draining"
    DEADLINE_PASSED = "deadline passed"
    INTERNAL = "internal error"


@dataclass(frozen=True, slots=True)
class Served:
    """Outputs; times in seconds."""

    outputs: Tensors
    queue_time_s: float
    execution_time_s: float
    predicted_s: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """Predicted to miss its deadline, or the queue was full. Nothing was changed."""

    predicted_s: float
    queue_full: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """No outputs; `started` says whether stage 0 had begun."""

    reason: Failure
    message: str
    started: bool = False


Outcome = Served | Rejected | Failed


@dataclass(slots=True, eq=False)
class Flight:
    """An admitted request. `stage` is where it is; `started_s` is None while it waits for that stage."""

    replica: Replica
    activation: Any
    arrival_s: float
    deadline_s: float
    predicted_s: float
    stage: int = 0
    started_s: float | None = None
    execution_time_s: float = 0.0
    is_wanted: bool = True
    outcome: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def has_begun(self) -> bool:
        return self.stage > 0 or self.started_s is not None

    def is_doomed(self, now_s: float) -> bool:
        """Whether the stages that are left would take it past its deadline: no device works for that."""
        return now_s + sum(self.replica.stage_latency_s[self.stage :]) > self.deadline_s

    def end(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)
