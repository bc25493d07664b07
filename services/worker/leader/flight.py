"""A request between admission and its end, how it may end, and the batch it runs in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from services.worker.leader.executor import Replica, Tensors


class Failure(Enum):
    """Why a request has no outputs."""

    INVALID_INPUT = "invalid input"
    NOT_LOADED = "model not loaded"
    DRAINING = "draining"
    DEADLINE_PASSED = "deadline passed"
    INTERNAL = "internal error"


class StageRun(NamedTuple):
    """When a stage began and ended, and how long the profile says that it takes."""

    begin_s: float
    end_s: float
    profiled_s: float


@dataclass(frozen=True, slots=True)
class Served:
    """Outputs; times in seconds. `batch_size` counts the requests that ran at once, this one included; `stages` count
    from the arrival, `group_time_s` from there to this outcome."""

    outputs: Tensors
    queue_time_s: float
    execution_time_s: float
    predicted_s: float
    batch_size: int = 1
    stages: Sequence[StageRun] = ()
    group_time_s: float = 0.0


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
    """An admitted request. `number` counts admissions; it waits in the queue until `has_begun`. Once it `is_over` it
    has its outcome, None if nobody wants to know. `runs` are of the stages that are over, in monotonic seconds, and
    `trace_id` is empty where no trace of it is recorded."""

    replica: Replica
    activation: Any
    arrival_s: float
    allowed_s: float
    predicted_s: float
    number: int = 0
    has_begun: bool = False
    is_wanted: bool = True
    is_over: bool = False
    outcome: Outcome | None = None
    runs: Sequence[StageRun] = ()
    trace_id: str = ""
    _tell: Callable[[Outcome | None], None] | None = None

    @property
    def model(self) -> str:
        return self.replica.model.name

    def when_over(self, tell: Callable[[Outcome | None], None]) -> None:
        """Call with the outcome, at once if there is one; who asks last is told."""
        self._tell = tell
        if self.is_over:
            tell(self.outcome)

    def end(self, outcome: Outcome | None) -> None:
        """Only the first time counts."""
        if self.is_over:
            return
        self.is_over = True
        self.outcome = outcome
        if self._tell is not None:
            self._tell(outcome)


Admission = Flight | Rejected | Failed


@dataclass(slots=True, eq=False)
class Batch:
    """Requests of one model that go through the stages together; `stage` is where they are, and
    `started_s` is None while they wait for that stage. `latency_s` is by stage, as profiled; `runs` are of the stages
    that are over, in monotonic seconds."""

    members: tuple[Flight, ...]
    latency_s: tuple[float, ...]
    activation: Any
    stage: int = 0
    started_s: float | None = None
    execution_time_s: float = 0.0
    runs: list[StageRun] = field(default_factory=list)

    @property
    def model(self) -> str:
        return self.members[0].model

    @property
    def is_over(self) -> bool:
        return all(member.is_over for member in self.members)

    def runs_since(self, arrival_s: float) -> list[StageRun]:
        """The stages that are over, in seconds since the arrival of a member."""
        return [
            StageRun(begin_s - arrival_s, end_s - arrival_s, profiled_s) for begin_s, end_s, profiled_s in self.runs
        ]

    def is_too_late_for(self, member: Flight, now_s: float) -> bool:
        """Whether the stages that are left would take it past its deadline: no device works for that."""
        return now_s + sum(self.latency_s[self.stage :]) - member.arrival_s > member.allowed_s
