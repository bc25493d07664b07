"""A group's leader: what it admits, and how it leads requests through the stages."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from benchmarks.leaders import execute
from services.worker.leader.emulated import EmulatedExecutor
from services.worker.leader.flight import Failed, Failure, Outcome, Rejected, Served
from services.worker.leader.group import GroupLeader
from tests.worker.stepped_executor import SteppedExecutor, replica, settled, tag_of, tagged

STAGE_S = 10.0


@pytest.fixture
def executor() -> SteppedExecutor:
    return SteppedExecutor()


@pytest.fixture
async def leader(executor: SteppedExecutor) -> AsyncIterator[GroupLeader]:
    """Two stages of ten seconds each, as predicted; the executor ends them when told."""
    async with GroupLeader("g1", 2, executor, queue_limit=4) as group:
        await group.load(replica("m", STAGE_S, STAGE_S))
        await group.load(replica("other", STAGE_S, STAGE_S, overhead_s=5.0))
        yield group


def ask(leader: GroupLeader, tag: str, remaining_s: float = math.inf, model: str = "m") -> asyncio.Task[Outcome]:
    return asyncio.create_task(execute(leader, model, tagged(tag), remaining_s))


@pytest.mark.parametrize(
    ("num_ahead", "model", "remaining_s", "admitted"),
    [
        (0, "m", 21.0, True),
        (0, "m", 19.0, False),
        (0, "other", 26.0, True),
        (0, "other", 24.0, False),
        (1, "m", 31.0, True),
        (1, "m", 29.0, False),
        (3, "m", 51.0, True),
        (3, "m", 49.0, False),
        (3, "other", 56.0, True),
        (3, "other", 54.0, False),
        (0, "m", 0.0, False),
        (0, "m", -1.0, False),
        (0, "m", math.inf, True),
    ],
)
async def test_a_request_is_admitted_if_its_predicted_finish_keeps_the_deadline(
    leader: GroupLeader, num_ahead: int, model: str, remaining_s: float, admitted: bool
) -> None:
    ahead = [ask(leader, "ahead") for _ in range(num_ahead)]
    await settled()
    asked = ask(leader, "asked", remaining_s, model)
    await settled()
    assert asked.done() is not admitted
    assert len(leader.clocks.flights) == num_ahead + admitted
    assert not any(task.done() for task in ahead)


async def test_a_rejection_tells_the_predicted_finish(leader: GroupLeader) -> None:
    for _ in range(2):
        ask(leader, "ahead")
    await settled()
    outcome = await execute(leader, "other", tagged("late"), 39.0)
    assert isinstance(outcome, Rejected)
    assert outcome.predicted_s == pytest.approx(45.0, abs=1.0)
    assert not outcome.queue_full


async def test_a_rejected_request_changes_nothing(leader: GroupLeader, executor: SteppedExecutor) -> None:
    ask(leader, "ahead")
    await settled()
    clocks, events, flights = leader.clocks.planned(0.0), leader.num_events, dict(leader.clocks.flights)
    before = list(clocks)
    await execute(leader, "m", tagged("late"), 1.0)
    await settled()
    assert leader.clocks.planned(0.0) == before
    assert leader.num_events == events
    assert leader.clocks.flights == flights
    assert executor.began == [(0, "ahead")]


async def test_requests_run_in_the_order_they_came_in_every_stage(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    models = {"a": "m", "b": "other", "c": "m"}
    asked = [ask(leader, tag, model=model) for tag, model in models.items()]
    for stage in (0, 1):
        executor.finish(stage, times=3)
    outcomes = await asyncio.gather(*asked)
    assert [tag for stage, tag in executor.began if stage == 0] == ["a", "b", "c"]
    assert [tag for stage, tag in executor.began if stage == 1] == ["a", "b", "c"]
    assert [tag_of(outcome.outputs) for outcome in outcomes if isinstance(outcome, Served)] == ["a", "b", "c"]


async def test_different_requests_are_in_different_stages_at_the_same_time(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    ask(leader, "a")
    ask(leader, "b")
    executor.finish(0)
    await settled()
    assert executor.running == {1: "a", 0: "b"}


async def test_a_stage_begins_its_next_request_before_the_last_one_is_answered(executor: SteppedExecutor) -> None:
    async with GroupLeader("g1", 1, executor, queue_limit=4) as leader:
        for name in ("m", "other"):
            await leader.load(replica(name, STAGE_S))
        first = ask(leader, "a")
        ask(leader, "b", model="other")
        executor.finish(0)
        await first
        assert executor.collected == [("a", {0: "b"})]


async def test_a_stage_runs_one_request_at_a_time(leader: GroupLeader, executor: SteppedExecutor) -> None:
    ask(leader, "a")
    ask(leader, "b")
    await settled()
    assert executor.began == [(0, "a")]


async def test_a_full_queue_rejects_even_what_has_no_deadline(leader: GroupLeader) -> None:
    for _ in range(4):
        ask(leader, "ahead")
    await settled()
    outcome = await execute(leader, "m", tagged("fifth"), math.inf)
    assert isinstance(outcome, Rejected)
    assert outcome.predicted_s == pytest.approx(60.0, abs=1.0)
    assert outcome.queue_full


async def test_unload_waits_for_what_was_admitted_and_refuses_the_rest(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    admitted = ask(leader, "admitted")
    await settled()
    unloading = asyncio.create_task(leader.unload("m"))
    await settled()
    refused = await execute(leader, "m", tagged("late"), math.inf)
    elsewhere = ask(leader, "elsewhere", model="other")
    await settled()
    assert isinstance(refused, Failed)
    assert refused.reason is Failure.DRAINING
    assert not unloading.done()
    assert executor.unloaded == []
    executor.finish(0, times=2)
    executor.finish(1, times=2)
    await unloading
    afterwards = await execute(leader, "m", tagged("later"), math.inf)
    assert isinstance(await admitted, Served)
    assert isinstance(await elsewhere, Served)
    assert executor.unloaded == ["m"]
    assert isinstance(afterwards, Failed)
    assert afterwards.reason is Failure.NOT_LOADED


async def test_a_model_that_is_loaded_again_while_it_leaves_stays(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    ask(leader, "admitted")
    await settled()
    unloading = asyncio.create_task(leader.unload("m"))
    await settled()
    await leader.load(replica("m", STAGE_S, STAGE_S))
    executor.finish(0)
    executor.finish(1)
    await unloading
    assert executor.unloaded == []
    assert "m" in leader.replicas


async def test_loading_again_changes_only_what_admission_predicts_with(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    await leader.load(replica("m", 1.0, 1.0))
    asked = ask(leader, "now in time", 3.0)
    await settled()
    assert executor.loaded == ["m", "other", "m"]
    assert not asked.done()


async def test_a_deadline_that_passes_while_waiting_ends_the_request_before_it_starts(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    await leader.load(replica("m", 0.001, 0.001))
    ask(leader, "slower than predicted")
    await settled()
    waiting = ask(leader, "waiting", 0.02)
    await asyncio.sleep(0.03)
    executor.finish(0)
    outcome = await waiting
    assert outcome == Failed(Failure.DEADLINE_PASSED, "the deadline cannot be kept any more at stage 0", started=False)
    assert executor.began == [(0, "slower than predicted"), (1, "slower than predicted")]


async def test_a_deadline_that_passes_between_stages_ends_a_request_that_was_started(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    await leader.load(replica("m", 0.001, 0.001))
    started = ask(leader, "started", 0.02)
    await asyncio.sleep(0.03)
    executor.finish(0)
    outcome = await started
    assert outcome == Failed(Failure.DEADLINE_PASSED, "the deadline cannot be kept any more at stage 1", started=True)


async def test_a_cancelled_request_is_not_started(leader: GroupLeader, executor: SteppedExecutor) -> None:
    ask(leader, "first")
    unwanted = ask(leader, "unwanted")
    wanted = ask(leader, "wanted")
    await settled()
    unwanted.cancel()
    executor.finish(0, times=2)
    executor.finish(1, times=2)
    assert isinstance(await wanted, Served)
    assert [tag for _, tag in executor.began if tag == "unwanted"] == []
    assert leader.clocks.flights == {}


@pytest.mark.parametrize("bug", ["broken", "lost"])
async def test_a_failing_stage_ends_its_request_and_no_other(
    leader: GroupLeader, executor: SteppedExecutor, bug: str
) -> None:
    failing = ask(leader, bug)
    following = ask(leader, "following")
    executor.finish(0, times=2)
    executor.finish(1, times=2)
    assert await failing == Failed(Failure.INTERNAL, "internal error", started=True)
    assert isinstance(await following, Served)
    assert leader.clocks.flights == {}


async def test_inputs_that_the_model_does_not_take_are_told_apart(leader: GroupLeader) -> None:
    outcome = await execute(leader, "m", tagged("bad"), math.inf)
    assert outcome == Failed(Failure.INVALID_INPUT, "tag is 'bad'")
    assert leader.clocks.flights == {}


async def test_a_group_that_ends_gives_every_flight_an_outcome(executor: SteppedExecutor) -> None:
    async with GroupLeader("g1", 2, executor, queue_limit=4) as leader:
        await leader.load(replica("m", STAGE_S, STAGE_S))
        started, waiting = ask(leader, "started"), ask(leader, "waiting")
        await settled()
    assert await started == Failed(Failure.DRAINING, "group g1 is gone", started=True)
    assert await waiting == Failed(Failure.DRAINING, "group g1 is gone", started=False)
    assert executor.is_closed


async def test_drained_waits_for_everything_in_flight(leader: GroupLeader, executor: SteppedExecutor) -> None:
    ask(leader, "a")
    ask(leader, "b", model="other")
    await settled()
    leader.refuse_all()
    drained = asyncio.create_task(leader.drained())
    executor.finish(0, times=2)
    executor.finish(1)
    await settled()
    assert not drained.done()
    executor.finish(1)
    await drained
    assert leader.clocks.flights == {}


@pytest.mark.parametrize(("num_requests", "num_stages"), [(8, 4), (16, 2), (1, 4)])
async def test_a_pipeline_overlaps_its_stages(num_requests: int, num_stages: int) -> None:
    stage_s = 0.02
    async with GroupLeader("g1", num_stages, EmulatedExecutor(num_stages), queue_limit=100) as leader:
        await leader.load(replica("m", *[stage_s] * num_stages))
        outcomes = await asyncio.gather(*(ask(leader, str(number)) for number in range(num_requests)))
    served = [outcome for outcome in outcomes if isinstance(outcome, Served)]
    slowest_s = max(outcome.queue_time_s + outcome.execution_time_s for outcome in served)
    full_s = (num_stages + num_requests - 1) * stage_s
    assert len(served) == num_requests
    assert max(outcome.predicted_s for outcome in served) == pytest.approx(full_s, rel=0.1)
    assert 0.95 < slowest_s / full_s < 1.6
