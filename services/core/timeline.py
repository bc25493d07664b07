"""Re-placement: placements that follow each other on one cluster, simulated with what switching costs.

A group that stays, with its devices and config, keeps its stage clocks and requests in flight; the stages of
a group that is formed start when their devices are through with the work of the groups before. The
replicas that a group newly holds are loaded one after another from the window's begin on, in the order in
which it lists them, and take requests from then on; a group that is formed is busy until the first is there.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.core.attainment import Outcome, Report, report_groups
from services.core.errors import InvalidArgument, InvalidPlacement
from services.core.kernel import Clocks, Fates, Layout, Tally, empty_tally, idle_clocks
from services.core.placement import Group, Placement, check_placement
from services.core.problem import Problem
from services.core.profile import ParallelConfig
from services.core.simulator import Counts, Serve, busy_seconds, compiled_serve

# What makes a group the same one in two windows.
Seat = tuple[ParallelConfig, tuple[int, ...]]


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


def seat_of(group: Group) -> Seat:
    return group.config, group.devices


def simulate_timeline(
    problem: Problem, timeline: Timeline, load_bytes_per_s: float | None = None, serve: Serve | None = None
) -> Outcome:
    """Simulate and tell every request's fate; groups and stages are numbered as `timeline.seats`.

    A replica loads with `load_bytes_per_s` on every device of its group at once, so its heaviest stage
    counts; None is free. Raises: InvalidArgument, and what a placement that cannot be raises.
    """
    layout, clocks, _, fates = _run(problem, timeline, load_bytes_per_s, serve, problem.num_requests)
    return Outcome(fates.group, fates.finish_s, clocks.free_at, busy_seconds(problem, layout, fates))


def simulate_timeline_counts(
    problem: Problem, timeline: Timeline, load_bytes_per_s: float | None = None, serve: Serve | None = None
) -> Counts:
    """Simulate for counts alone. Raises: as `simulate_timeline`."""
    _, _, tally, _ = _run(problem, timeline, load_bytes_per_s, serve, 0)
    return Counts(tally.attained, tally.group_requests, tally.group_attained, float(tally.latency_s[0]))


def report_timeline(problem: Problem, timeline: Timeline, outcome: Outcome) -> Report:
    """Summarize a simulated run, with a row for every one of `timeline.seats`."""
    return report_groups(problem, [config for config, _ in timeline.seats], outcome)


def _run(
    problem: Problem, timeline: Timeline, load_bytes_per_s: float | None, serve: Serve | None, num_recorded: int
) -> tuple[Layout, Clocks, Tally, Fates]:
    if load_bytes_per_s is not None and not load_bytes_per_s > 0:
        raise InvalidArgument(f"load_bytes_per_s must be positive, got {load_bytes_per_s!r}")
    for window in timeline.windows:
        check_placement(window.placement, problem.spec, problem.profiles)
    run = serve or compiled_serve()
    seats = timeline.seats
    lanes = problem.lanes([config for config, _ in seats])
    layout = problem.layout(lanes, np.zeros((problem.num_models, len(seats)), dtype=np.bool_))
    clocks = idle_clocks(layout, timeline.dispatch_rule, problem.num_requests)
    tally = empty_tally(problem.num_models, len(seats))
    fates = Fates(np.empty(num_recorded, dtype=np.int32), np.empty(num_recorded))
    lineup = Lineup(problem, layout, seats, clocks.free_at, load_bytes_per_s or math.inf)
    ends_s = [*(window.begin_s for window in timeline.windows[1:]), math.inf]
    first = 0
    for index, (window, end_s) in enumerate(zip(timeline.windows, ends_s, strict=True)):
        lineup.switch(window, is_first=index == 0)
        for until_s, hosted in lineup.parts(end_s):
            last = int(np.searchsorted(problem.requests.arrival_s, until_s))
            if last > first:
                run(timeline.dispatch_rule, first, last, problem.requests, hosted, clocks, tally, fates)
            first = last
    return layout, clocks, tally, fates


@dataclass(slots=True, eq=False)
class Lineup:
    """The groups of the window that holds, on the flat clocks `free_at` of all `seats`.

    `loaded_s` tells when each replica is there, by group and model, in the window's order.
    """

    problem: Problem
    layout: Layout
    seats: Sequence[Seat]
    free_at: NDArray[np.float64]
    load_bytes_per_s: float
    begin_s: float = -math.inf
    loaded_s: dict[Seat, dict[str, float]] = field(default_factory=dict)
    device_free_s: dict[int, float] = field(default_factory=dict)
    index_of: dict[Seat, int] = field(init=False)
    model_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.index_of = {seat: index for index, seat in enumerate(self.seats)}
        self.model_of = {name: index for index, name in enumerate(self.problem.spec.names)}

    def switch(self, window: Window, *, is_first: bool) -> None:
        """Take leave of the groups that were and form the new ones."""
        self._note_devices()
        self.begin_s = -math.inf if is_first else window.begin_s
        before = self.loaded_s
        self.loaded_s = {}
        for group in window.placement.groups:
            seat = seat_of(group)
            if is_first:
                self.loaded_s[seat] = dict.fromkeys(group.models, -math.inf)
                continue
            self.loaded_s[seat] = self._load(window.begin_s, group, before.get(seat, {}))
            if seat not in before:
                first_s = min(self.loaded_s[seat].values(), default=-math.inf)
                self._form(seat, first_s if first_s > window.begin_s else -math.inf)

    def parts(self, end_s: float) -> Iterator[tuple[float, Layout]]:
        """The window, cut where replicas become available: when each part ends, and its layout."""
        loaded_s = {at_s for replicas in self.loaded_s.values() for at_s in replicas.values()}
        starts = sorted({self.begin_s} | {at_s for at_s in loaded_s if self.begin_s < at_s < end_s})
        for start_s, until_s in zip(starts, [*starts[1:], end_s], strict=True):
            yield until_s, self._hosted(start_s)

    def _load(self, begin_s: float, group: Group, before: dict[str, float]) -> dict[str, float]:
        """When each replica of the group is there; what it held already keeps its time."""
        kept = {name: before[name] for name in group.models if name in before}
        ready_s = max([begin_s, *kept.values()])
        loaded_s = {}
        for name in group.models:
            if name not in kept:
                profile = self.problem.profiles[self.problem.spec.model(name).profile]
                ready_s += profile.at(group.config).heaviest_stage_bytes / self.load_bytes_per_s
            loaded_s[name] = kept.get(name, ready_s)
        return loaded_s

    def _form(self, seat: Seat, ready_s: float) -> None:
        """Start a group's stages when their devices are free, and not before `ready_s`."""
        config, devices = seat
        begin = int(self.layout.first_stage[self.index_of[seat]])
        for k in range(config.inter_op):
            mesh = devices[k * config.intra_op : (k + 1) * config.intra_op]
            self.free_at[begin + k] = max(ready_s, *(self.device_free_s.get(device, 0.0) for device in mesh))

    def _note_devices(self) -> None:
        for seat in self.loaded_s:
            config, devices = seat
            begin = int(self.layout.first_stage[self.index_of[seat]])
            for position, device in enumerate(devices):
                self.device_free_s[device] = float(self.free_at[begin + position // config.intra_op])

    def _hosted(self, now_s: float) -> Layout:
        """The layout of the replicas that are there by now; the window's group order decides ties."""
        hosts: list[list[int]] = [[] for _ in self.model_of]
        for seat, replicas in self.loaded_s.items():
            for name, at_s in replicas.items():
                if at_s <= now_s:
                    hosts[self.model_of[name]].append(self.index_of[seat])
        first_host = np.zeros(len(hosts) + 1, dtype=np.int32)
        np.cumsum([len(row) for row in hosts], out=first_host[1:])
        host = np.array([index for row in hosts for index in row], dtype=np.int32)
        return self.layout._replace(first_host=first_host, host=host)
