"""Re-placement: placements that follow each other on one cluster, simulated with what switching costs.

Where switching is free, a window's groups take over at its begin. Else a transition begins there, or when the
one before is over, and takes the very steps (`services.core.steps`) that the planner has workers take: the old
groups serve until routing switches, models that memory leaves no room for are down. See `lineup`.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from services.core.attainment import Outcome, Report, report_groups
from services.core.errors import InvalidPlacement
from services.core.kernel import Clocks, Fates, Layout, Tally, empty_tally, idle_clocks
from services.core.lineup import Lineup, Seat, seat_of
from services.core.placement import Placement, check_placement
from services.core.problem import Problem
from services.core.simulator import Counts, Serve, busy_seconds, compiled_serve
from services.core.steps import StepCosts
from services.core.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Window:
    """A placement that holds for arrivals from `begin_s` on."""

    begin_s: float
    placement: Placement

    def __post_init__(self) -> None:
        if not math.isfinite(self.begin_s):
            raise InvalidPlacement(f"a window must begin at an instant, got {self.begin_s!r}")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Windows in order of time, under one dispatch rule; the first also holds for earlier arrivals."""

    windows: tuple[Window, ...]

    def __post_init__(self) -> None:
        if not self.windows:
            raise InvalidPlacement("a timeline needs at least one window")
        for before, after in pairwise(self.windows):
            if after.begin_s <= before.begin_s:
                raise InvalidPlacement(f"a window begins at {after.begin_s}, after one at {before.begin_s}")
            if after.placement.dispatch != before.placement.dispatch:
                raise InvalidPlacement("the windows differ in their dispatch")

    @property
    def dispatch_rule(self) -> int:
        return self.windows[0].placement.dispatch_rule

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Every group that there ever is, by config and devices, in order of its first window."""
        groups = (group for window in self.windows for group in window.placement.groups)
        return tuple(dict.fromkeys(seat_of(group) for group in groups))


def simulate_timeline(
    problem: Problem,
    timeline: Timeline,
    load_bytes_per_s: float | None = None,
    serve: Serve | None = None,
    costs: StepCosts | None = None,
) -> Outcome:
    """Simulate and tell every request's fate; groups and stages are numbered as `timeline.seats`.

    `costs` is what the steps of a transition take, `load_bytes_per_s` short for costs of loading alone; with
    neither, switching is free. Raises: InvalidArgument, and what a placement that cannot be raises.
    """
    layout, clocks, _, fates = _run(problem, timeline, costs_of(load_bytes_per_s, costs), serve, problem.num_requests)
    return Outcome(fates.group, fates.finish_s, clocks.free_at, busy_seconds(problem, layout, fates))


def simulate_timeline_counts(
    problem: Problem,
    timeline: Timeline,
    load_bytes_per_s: float | None = None,
    serve: Serve | None = None,
    costs: StepCosts | None = None,
) -> Counts:
    """Simulate for counts alone. Raises: as `simulate_timeline`."""
    _, _, tally, _ = _run(problem, timeline, costs_of(load_bytes_per_s, costs), serve, 0)
    return Counts(tally.attained, tally.group_requests, tally.group_attained, float(tally.latency_s[0]))


def report_timeline(problem: Problem, timeline: Timeline, outcome: Outcome) -> Report:
    """Summarize a simulated run, with a row for every one of `timeline.seats`."""
    return report_groups(problem, [config for config, _ in timeline.seats], outcome)


def costs_of(load_bytes_per_s: float | None, costs: StepCosts | None) -> StepCosts | None:
    if costs is None and load_bytes_per_s is not None:
        return StepCosts(load_bytes_per_s)
    return costs


def _run(
    problem: Problem, timeline: Timeline, costs: StepCosts | None, serve: Serve | None, num_recorded: int
) -> tuple[Layout, Clocks, Tally, Fates]:
    for window in timeline.windows:
        check_placement(window.placement, problem.spec, problem.profiles)
    run = serve or compiled_serve()
    seats = timeline.seats
    lanes = problem.lanes([config for config, _ in seats])
    layout = problem.layout(lanes, np.zeros((problem.num_models, len(seats)), dtype=np.bool_))
    clocks = idle_clocks(layout, timeline.dispatch_rule, problem.num_requests)
    tally = empty_tally(problem.num_models, len(seats))
    fates = Fates(np.empty(num_recorded, dtype=np.int32), np.empty(num_recorded))
    lineup = Lineup(problem, layout, seats, clocks.free_at, costs)
    waiting = Waiting(problem) if costs is not None else None
    first, from_s = 0, -math.inf
    begins = [(window.begin_s, window.placement) for window in timeline.windows]
    for until_s, hosted in lineup.parts(begins):
        if waiting is not None:
            for request in waiting.take(from_s, hosted):
                num_attained = tally.attained.sum()
                run(timeline.dispatch_rule, request, request + 1, waiting.requests, hosted, clocks, tally, fates)
                tally.latency_s[0] += (tally.attained.sum() - num_attained) * waiting.waited_s(request)
        last = int(np.searchsorted(problem.requests.arrival_s, until_s))
        if last > first:
            run(timeline.dispatch_rule, first, last, problem.requests, hosted, clocks, tally, fates)
            if waiting is not None:
                waiting.hold(first, last, lineup.down)
            first = last
        from_s = until_s
    return layout, clocks, tally, fates
