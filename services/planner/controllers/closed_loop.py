"""A controller at work in simulation: it sees the past only, decides at ticks, and pays for what it switches."""

from dataclasses import dataclass, replace

import numpy as np

from services.core.errors import InvalidArgument
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.simulator import Counts
from services.core.timeline import Timeline, Window, simulate_timeline_counts
from services.core.workload import Workload
from services.planner.controllers.controllers import Controller
from services.planner.controllers.deciding import decide
from services.planner.controllers.decision import Decision, Running
from services.planner.controllers.observation import (
    HISTORY_BUCKET_S,
    RECENT_BUCKET_S,
    ArrivalCounts,
    Observation,
)
from services.planner.controllers.setting import Effort, Setting

# As much as is kept of live arrivals by the second.
DEFAULT_RECENT_S = 3_600.0
# Searches and draws of one look use neighbouring seeds.
_SEED_STEP = 1_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """When a controller is at work: from `begin_s` to `end_s` of the workload, a look at `tick_s`, switches
    beginning `lag_s` after it; what came before `begin_s` is history. It is shown the last `recent_s` closely."""

    begin_s: float
    end_s: float
    tick_s: float
    lag_s: float = 10.0
    recent_s: float = DEFAULT_RECENT_S

    def __post_init__(self) -> None:
        if not 0 < self.begin_s < self.end_s:
            raise InvalidArgument(f"a stretch needs a past and a length, got {self.begin_s!r} to {self.end_s!r} s")
        if not 0 <= self.lag_s < self.tick_s:
            raise InvalidArgument(f"lag_s must be from 0 to below tick_s {self.tick_s!r}, got {self.lag_s!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a controller did over a stretch, and what came of it with every switch paid for. Windows count
    from the stretch's begin, decisions in the workload's time."""

    timeline: Timeline
    decisions: tuple[Decision, ...]
    counts: Counts
    num_requests: int

    @property
    def attainment(self) -> float:
        return float(self.counts.attained.sum()) / self.num_requests

    @property
    def num_switches(self) -> int:
        return len(self.timeline.windows) - 1

    @property
    def num_loads(self) -> int:
        return sum(decision.move.num_loads for decision in self.decisions if decision.taken and decision.move)


def run_controller(
    setting: Setting,
    workload: Workload,
    controller: Controller,
    first: Placement,
    stretch: Stretch,
    effort: Effort,
) -> Run:
    """Begin with the placement `first`, made for what came before the stretch, and let the controller go on.

    Raises: InvalidArgument for a stretch that the workload does not fill, and what `decide` raises.
    """
    workload = workload.aligned(setting.spec.names)
    history = _history(workload, stretch.end_s)
    before = observed(workload, history, stretch.begin_s, replace(stretch, recent_s=stretch.begin_s))
    running = Running.begin(first, stretch.begin_s, before)
    decisions: list[Decision] = []
    windows = [Window(0.0, first)]
    for now_s in np.arange(stretch.begin_s, stretch.end_s, stretch.tick_s).tolist():
        seen = observed(workload, history, now_s, stretch)
        own = replace(effort, seed=effort.seed + _SEED_STEP * (1 + len(decisions)))
        decision = decide(setting, controller, seen, running, own)
        decisions.append(decision)
        running = running.after(decision)
        if decision.taken:
            windows.append(Window(now_s + stretch.lag_s - stretch.begin_s, running.placement))
    posed = _posed(setting, workload, stretch)
    timeline = Timeline(tuple(windows))
    counts = simulate_timeline_counts(posed, timeline, costs=setting.step_costs)
    return Run(timeline, tuple(decisions), counts, posed.num_requests)


def observed(workload: Workload, history: ArrivalCounts, now_s: float, stretch: Stretch) -> Observation:
    """What of a workload is to be seen at an instant."""
    num_seconds = max(int(min(stretch.recent_s, now_s)), 1)
    recent = counted(workload.between(now_s - num_seconds, now_s), RECENT_BUCKET_S, num_seconds)
    num_past = int(now_s / history.bucket_s + 1e-9)
    past = ArrivalCounts(history.bucket_s, history.counts[:, :num_past])
    return Observation(workload.names, now_s, recent, past)


def counted(workload: Workload, bucket_s: float, num_buckets: int) -> ArrivalCounts:
    """Arrivals of a workload in buckets from time 0 on."""
    num_models = len(workload.names)
    bucket = np.minimum((workload.arrival_s / bucket_s).astype(np.int64), num_buckets - 1)
    flat = np.bincount(workload.model * np.int64(num_buckets) + bucket, minlength=num_models * num_buckets)
    return ArrivalCounts(bucket_s, flat.reshape(num_models, num_buckets))


def _history(workload: Workload, end_s: float) -> ArrivalCounts:
    num_buckets = max(int(end_s / HISTORY_BUCKET_S), 1)
    return counted(workload.between(0.0, num_buckets * HISTORY_BUCKET_S), HISTORY_BUCKET_S, num_buckets)


def _posed(setting: Setting, workload: Workload, stretch: Stretch) -> Problem:
    return pose(setting.spec, setting.profiles, workload.between(stretch.begin_s, stretch.end_s))
