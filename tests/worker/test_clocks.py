"""Stage clocks: the rule's own prediction as long as the devices keep time, corrected when they do not."""

import math
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import schedule
from services.worker.leader.clocks import CORRECTED_SHARE, StageClocks
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Batch, Flight
from tests.worker.stepped_executor import replica

MILLISECONDS = st.integers(1, 50)


def clocks_of(*replicas: Replica) -> StageClocks:
    clocks = StageClocks(len(replicas[0].stage_latency_s))
    for one in replicas:
        clocks.serve(one)
    return clocks


def admitted(clocks: StageClocks, of: Replica, now_s: float, allowed_s: float = math.inf) -> Flight:
    flight = Flight(of, None, now_s, allowed_s, 0.0)
    clocks.admit(flight, now_s)
    return flight


def begun(clocks: StageClocks, now_s: float) -> Batch:
    """What goes into stage 0 next, if anything does."""
    batch, dropped = clocks.begin(now_s)
    assert batch is not None
    assert not dropped
    return batch


def end_stage(clocks: StageClocks, batch: Batch, now_s: float) -> None:
    """The stage ends; after the last one all is over."""
    clocks.stage_ended(batch, now_s)
    if batch.stage == clocks.num_stages:
        clocks.gone(batch)
        for member in batch.members:
            clocks.left(member)


@dataclass
class Devices:
    """Stages that take exactly the predicted time, driven by simulated time."""

    clocks: StageClocks
    waiting: list[deque[Batch]] = field(default_factory=list)
    running: list[tuple[float, Batch] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = [deque() for _ in range(self.clocks.num_stages)]
        self.running = [None] * self.clocks.num_stages

    def advance(self, now_s: float) -> None:
        """Let everything happen that ends by now, in order of time."""
        while True:
            ends = [(one[0], -stage) for stage, one in enumerate(self.running) if one is not None and one[0] <= now_s]
            if not ends:
                return
            end_s, stage = min(ends)
            self._end(-stage, end_s)

    def begin_first(self, now_s: float) -> None:
        if self.running[0] is None:
            batch, _ = self.clocks.begin(now_s)
            if batch is not None:
                self.running[0] = (now_s + batch.latency_s[0], batch)

    def _begin(self, stage: int, now_s: float) -> None:
        if self.running[stage] is None and self.waiting[stage]:
            batch = self.waiting[stage].popleft()
            self.clocks.stage_began(batch, now_s)
            self.running[stage] = (now_s + batch.latency_s[stage], batch)

    def _end(self, stage: int, now_s: float) -> None:
        ended = self.running[stage]
        assert ended is not None
        self.running[stage] = None
        end_stage(self.clocks, ended[1], now_s)
        if stage + 1 < self.clocks.num_stages:
            self.waiting[stage + 1].append(ended[1])
            self._begin(stage + 1, now_s)
        if stage == 0:
            self.begin_first(now_s)
        else:
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
    replicas = [
        replica(f"m{index}", *(ms / 1000 for ms in stages[:num_stages])) for index, stages in enumerate(latencies_ms)
    ]
    clocks = clocks_of(*replicas)
    devices = Devices(clocks)
    by_rule = [0.0] * num_stages
    now_s = 1.0
    for gap_ms, choice in zip(gaps_ms, choices, strict=False):
        now_s += gap_ms / 1000
        devices.advance(now_s)
        chosen = replicas[choice]
        end_s = schedule.last_stage_end(now_s, by_rule, chosen.stage_latency_s, 0, num_stages)
        assert clocks.predicted_end(chosen.model.name, now_s) == end_s
        schedule.commit(now_s, by_rule, chosen.stage_latency_s, 0, num_stages)
        admitted(clocks, chosen, now_s)
        devices.begin_first(now_s)
        assert clocks.planned(now_s) == by_rule


async def test_a_late_stage_moves_the_clocks_of_all_that_follows() -> None:
    model = replica("m", 1.0, 1.0)
    clocks = clocks_of(model)
    for _ in range(2):
        admitted(clocks, model, 0.0)
    assert clocks.planned(0.0) == [2.0, 3.0]
    first = begun(clocks, 0.0)
    clocks.stage_ended(first, 1.0625)
    assert clocks.planned(1.0625) == [2.0625, 3.0625]


@pytest.mark.parametrize("num_waiting", [40, 100])
async def test_the_clocks_of_a_long_queue_lag_behind_what_happened_by_a_share_of_it(num_waiting: int) -> None:
    model, late_s = replica("m", 1.0), 0.0625
    clocks = clocks_of(model)
    for _ in range(num_waiting):
        admitted(clocks, model, 0.0)
    now_s, lags_s = 0.0, []
    for done in range(num_waiting // 2):
        batch = begun(clocks, now_s)
        now_s += 1.0 + late_s
        end_stage(clocks, batch, now_s)
        lags_s.append(now_s + num_waiting - 1 - done - clocks.planned(now_s)[0])
    assert max(lags_s) <= late_s * num_waiting / CORRECTED_SHARE
    assert lags_s.count(0.0) >= CORRECTED_SHARE / 2


async def test_stages_that_run_much_slower_than_profiled_are_predicted_to_go_on_so() -> None:
    model = replica("m", 1.0)
    clocks = clocks_of(model)
    admitted(clocks, model, 0.0)
    end_stage(clocks, begun(clocks, 0.0), 3.0)
    soon_s = clocks.predicted_end("m", 3.0) - 3.0
    later_s = clocks.predicted_end("m", 60.0) - 60.0
    assert soon_s == pytest.approx(3.0, rel=0.1)
    assert later_s == 1.0


async def test_slow_stages_slow_the_batches_that_wait_as_well() -> None:
    model = replica("m", 1.0, larger_batches={2: (1.5,)})
    clocks = clocks_of(model)
    for _ in range(4):
        admitted(clocks, model, 0.0)
    end_stage(clocks, begun(clocks, 0.0), 4.5)
    assert clocks.planned(4.5)[0] == pytest.approx(4.5 + 3 * 1.5, rel=0.1)


async def test_an_early_stage_brings_the_clocks_forward() -> None:
    model = replica("m", 1.0, 1.0)
    clocks = clocks_of(model)
    admitted(clocks, model, 0.0)
    first = begun(clocks, 0.0)
    assert clocks.planned(0.25) == [1.0, 2.0]
    clocks.stage_ended(first, 0.25)
    assert clocks.planned(0.25) == [0.25, 1.25]
    clocks.stage_began(first, 0.25)
    assert clocks.planned(0.25) == [0.25, 1.25]


async def test_a_request_that_leaves_the_queue_gives_its_time_back() -> None:
    model = replica("m", 1.0, larger_batches={2: (1.5,)})
    clocks = clocks_of(model)
    for _ in range(2):
        admitted(clocks, model, 0.0)
    third = admitted(clocks, model, 0.0)
    begun(clocks, 0.0)
    assert clocks.planned(0.0) == [2.5]
    clocks.left(third)
    assert clocks.planned(0.0) == [1.5]
    assert list(clocks.flights) == [0, 1]


async def test_idle_stages_keep_the_instant_they_became_free() -> None:
    model = replica("m", 1.0)
    clocks = clocks_of(model)
    admitted(clocks, model, 0.0)
    end_stage(clocks, begun(clocks, 0.0), 1.0)
    assert clocks.planned(100.0) == [1.0]


async def test_other_costs_hold_for_what_waits_already() -> None:
    model = replica("m", 1.0)
    clocks = clocks_of(model)
    for _ in range(3):
        admitted(clocks, model, 0.0)
    begun(clocks, 0.0)
    clocks.serve(replica("m", 2.0))
    assert clocks.planned(0.0) == [5.0]


def test_a_stage_is_busy_while_it_runs_a_batch() -> None:
    clocks = clocks_of(replica("m", 0.1, 0.2))
    assert clocks.busy_s(0.5) == (0, 0)
    admitted(clocks, replica("m", 0.1, 0.2), 1.0)
    batch = begun(clocks, 1.0)
    assert clocks.busy_s(1.05) == pytest.approx((0.05, 0))
    clocks.stage_ended(batch, 1.1)
    clocks.stage_began(batch, 1.2)
    clocks.stage_ended(batch, 1.5)
    clocks.gone(batch)
    assert clocks.busy_s(9.0) == pytest.approx((0.1, 0.3))


def test_busy_time_is_not_taken_back_with_a_batch_that_never_ran() -> None:
    clocks = clocks_of(replica("m", 0.1))
    admitted(clocks, replica("m", 0.1), 1.0)
    batch = begun(clocks, 1.0)
    told = clocks.busy_s(1.001)
    clocks.gone(batch)
    assert clocks.busy_s(1.002) == told
