"""Stage clocks: the rule's own prediction as long as the devices keep time, corrected when they do not."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import schedule
from services.worker.leader.clocks import StageClocks
from services.worker.leader.flight import Flight
from tests.worker.stepped_executor import replica

MILLISECONDS = st.integers(1, 50)


async def flight(*stage_latency_s: float) -> Flight:
    return Flight(replica("m", *stage_latency_s), None, 0.0, 0.0, 0.0)


@dataclass
class Devices:
    """Stages that take exactly the predicted time, driven by simulated time."""

    clocks: StageClocks
    waiting: list[deque[Flight]] = field(default_factory=list)
    running: list[tuple[float, Flight] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = [deque() for _ in range(self.clocks.num_stages)]
        self.running = [None] * self.clocks.num_stages

    def take(self, admitted: Flight, now_s: float) -> None:
        self.waiting[0].append(admitted)
        self._begin(0, now_s)

    def advance(self, now_s: float) -> None:
        """Let everything happen that ends by now, in order of time."""
        while True:
            ends = [(one[0], -stage) for stage, one in enumerate(self.running) if one is not None and one[0] <= now_s]
            if not ends:
                return
            end_s, stage = min(ends)
            self._end(-stage, end_s)

    def _begin(self, stage: int, now_s: float) -> None:
        if self.running[stage] is None and self.waiting[stage]:
            begun = self.waiting[stage].popleft()
            self.clocks.stage_began(begun, now_s)
            self.running[stage] = (now_s + begun.replica.stage_latency_s[stage], begun)

    def _end(self, stage: int, now_s: float) -> None:
        ended = self.running[stage]
        assert ended is not None
        self.running[stage] = None
        self.clocks.stage_ended(ended[1], now_s)
        if ended[1].stage < self.clocks.num_stages:
            self.waiting[ended[1].stage].append(ended[1])
            self._begin(ended[1].stage, now_s)
        else:
            self.clocks.left(ended[1])
        self._begin(stage, now_s)


@given(
    num_stages=st.integers(1, 4),
    gaps_ms=st.lists(st.integers(0, 80), min_size=1, max_size=20),
    choices=st.lists(st.integers(0, 2), min_size=20, max_size=20),
    latencies_ms=st.lists(st.lists(MILLISECONDS, min_size=4, max_size=4), min_size=3, max_size=3),
)
async def test_clocks_of_devices_that_keep_time_are_those_of_the_rule(
    num_stages: int, gaps_ms: list[int], choices: list[int], latencies_ms: list[list[int]]
) -> None:
    clocks = StageClocks(num_stages)
    devices = Devices(clocks)
    by_rule = [0.0] * num_stages
    now_s = 1.0
    for gap_ms, choice in zip(gaps_ms, choices, strict=False):
        now_s += gap_ms / 1000
        devices.advance(now_s)
        latency_s = tuple(ms / 1000 for ms in latencies_ms[choice][:num_stages])
        assert [max(clock, now_s) for clock in clocks.free_at(now_s)] == pytest.approx(
            [max(clock, now_s) for clock in by_rule]
        )
        schedule.commit(now_s, by_rule, latency_s, 0, num_stages)
        admitted = await flight(*latency_s)
        clocks.admit(admitted, now_s)
        devices.take(admitted, now_s)
        assert clocks.free_at(now_s) == pytest.approx(by_rule)


async def test_a_late_stage_moves_the_clocks_of_all_that_follows() -> None:
    clocks = StageClocks(2)
    first, second = await flight(1.0, 1.0), await flight(1.0, 1.0)
    clocks.admit(first, 0.0)
    clocks.admit(second, 0.0)
    assert clocks.free_at(0.0) == [2.0, 3.0]
    clocks.stage_began(first, 0.0)
    assert clocks.free_at(1.0625) == [2.0625, 3.0625]
    clocks.stage_ended(first, 1.0625)
    assert clocks.free_at(1.0625) == [2.0625, 3.0625]


async def test_stages_that_run_much_slower_than_profiled_are_predicted_to_go_on_so() -> None:
    clocks = StageClocks(1)
    slow = await flight(1.0)
    clocks.admit(slow, 0.0)
    clocks.stage_began(slow, 0.0)
    clocks.stage_ended(slow, 3.0)
    clocks.left(slow)
    soon_s = clocks.predicted_end(slow.replica, 3.0) - 3.0
    later_s = clocks.predicted_end(slow.replica, 60.0) - 60.0
    assert soon_s == pytest.approx(3.0, rel=0.1)
    assert later_s == 1.0


async def test_an_early_stage_brings_the_clocks_forward() -> None:
    clocks = StageClocks(2)
    first = await flight(1.0, 1.0)
    clocks.admit(first, 0.0)
    clocks.stage_began(first, 0.0)
    assert clocks.free_at(0.25) == [1.0, 2.0]
    clocks.stage_ended(first, 0.25)
    assert clocks.free_at(0.25) == [0.25, 1.25]
    clocks.stage_began(first, 0.25)
    assert clocks.free_at(0.25) == [0.25, 1.25]


async def test_a_flight_that_leaves_gives_its_time_back() -> None:
    clocks = StageClocks(1)
    first, second = await flight(1.0), await flight(1.0)
    clocks.admit(first, 0.0)
    clocks.admit(second, 0.0)
    clocks.stage_began(first, 0.0)
    clocks.left(second)
    assert clocks.free_at(0.0) == [1.0]


async def test_idle_stages_keep_the_instant_they_became_free() -> None:
    clocks = StageClocks(1)
    only = await flight(1.0)
    clocks.admit(only, 0.0)
    clocks.stage_began(only, 0.0)
    clocks.stage_ended(only, 1.0)
    clocks.left(only)
    assert clocks.free_at(100.0) == [1.0]
