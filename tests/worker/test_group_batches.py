"""Batches in a group: what runs together, and how each member ends."""

import asyncio
import math
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from benchmarks.leaders import execute
from services.worker.leader.emulated import EmulatedExecutor
from services.worker.leader.flight import Failed, Failure, Outcome, Served
from services.worker.leader.group import GroupLeader
from tests.worker.stepped_executor import SteppedExecutor, replica, settled, tag_of, tagged

TWICE = (12.0, 12.0)
BROKEN = Failed(Failure.INTERNAL, "internal error", started=True)


@pytest.fixture
def executor() -> SteppedExecutor:
    return SteppedExecutor()


@pytest.fixture
async def leader(executor: SteppedExecutor) -> AsyncIterator[GroupLeader]:
    """Two stages of ten seconds for one request of `m` or `other`, twelve for two and thirteen for four of `m`."""
    async with GroupLeader("g1", 2, executor, queue_limit=100) as group:
        await group.load(replica("m", 10.0, 10.0, larger_batches={2: TWICE, 4: (13.0, 13.0)}))
        await group.load(replica("other", 10.0, 10.0, larger_batches={2: TWICE}))
        yield group


def ask(leader: GroupLeader, tag: str, remaining_s: float = math.inf, model: str = "m") -> asyncio.Task[Outcome]:
    return asyncio.create_task(execute(leader, model, tagged(tag), remaining_s))


async def asked(leader: GroupLeader, tags: str, model: str = "m") -> list[asyncio.Task[Outcome]]:
    """One request a letter, the first of which runs alone."""
    tasks = [ask(leader, tag, model=model) for tag in tags]
    await settled()
    return tasks


def begun(executor: SteppedExecutor, stage: int) -> list[str]:
    return [batch for began, batch in executor.began if began == stage]


@pytest.mark.parametrize(
    ("tags", "batches"),
    [
        ("a", ["a"]),
        ("abc", ["a", "b+c"]),
        ("abcd", ["a", "b+c", "d"]),
        ("abcde", ["a", "b+c+d+e"]),
        ("abcdefgh", ["a", "b+c+d+e", "f+g", "h"]),
    ],
)
async def test_what_waits_runs_in_the_largest_batch_that_is_profiled(
    leader: GroupLeader, executor: SteppedExecutor, tags: str, batches: list[str]
) -> None:
    tasks = await asked(leader, tags)
    for stage in (0, 1):
        executor.finish(stage, times=len(batches))
    outcomes = await asyncio.gather(*tasks)
    assert begun(executor, 0) == batches
    assert begun(executor, 1) == batches
    served = [outcome for outcome in outcomes if isinstance(outcome, Served)]
    assert "".join(tag_of(outcome.outputs) for outcome in served) == tags
    sizes = [len(batch.split("+")) for batch in batches]
    assert [outcome.batch_size for outcome in served] == [size for size in sizes for _ in range(size)]


async def test_the_model_of_the_earliest_request_runs_next(leader: GroupLeader, executor: SteppedExecutor) -> None:
    models = {"a": "m", "b": "other", "c": "m", "d": "other", "e": "m"}
    tasks = [ask(leader, tag, model=model) for tag, model in models.items()]
    await settled()
    for stage in (0, 1):
        executor.finish(stage, times=3)
    await asyncio.gather(*tasks)
    assert begun(executor, 0) == ["a", "b+d", "c+e"]


@pytest.mark.parametrize(("remaining_s", "batch"), [(33.0, "b+c"), (100.0, "b+c+d+e")])
async def test_a_batch_stays_small_if_a_member_would_lose_its_deadline(
    leader: GroupLeader, executor: SteppedExecutor, remaining_s: float, batch: str
) -> None:
    await leader.load(replica("m", 10.0, 10.0, larger_batches={2: TWICE, 4: (40.0, 40.0)}))
    await asked(leader, "a")
    ask(leader, "b", remaining_s)
    await asked(leader, "cde")
    executor.finish(0)
    await settled()
    assert begun(executor, 0) == ["a", batch]


@pytest.mark.parametrize("ready", [(1,), (1, 2), (1, 2, 4)])
async def test_only_sizes_that_the_devices_have_ready_are_used(executor: SteppedExecutor, ready: tuple[int]) -> None:
    executor.ready_sizes = ready
    async with GroupLeader("g1", 2, executor, queue_limit=100) as leader:
        await leader.load(replica("m", 10.0, 10.0, larger_batches={2: TWICE, 4: (13.0, 13.0)}))
        await asked(leader, "abcde")
        executor.finish(0)
        await settled()
        assert leader.replicas["m"].batch_sizes == ready
        assert [len(batch.split("+")) for batch in begun(executor, 0)] == [1, ready[-1]]


@pytest.mark.parametrize("stage", [0, 1])
async def test_a_failing_stage_ends_all_members_of_its_batch_and_no_other(
    leader: GroupLeader, executor: SteppedExecutor, stage: int
) -> None:
    before = await asked(leader, "a")
    members = [ask(leader, "broken"), ask(leader, "b")]
    await settled()
    executor.finish(0)
    await settled()
    after = await asked(leader, "c")
    executor.finish(0, times=2)
    executor.finish(1, times=3)
    assert [await task for task in members] == [BROKEN, BROKEN]
    assert [type(await task) for task in (*before, *after)] == [Served, Served]
    assert leader.clocks.flights == {}


@pytest.mark.parametrize("bug", ["lost", "short"])
async def test_outputs_that_are_not_those_of_every_member_end_all(
    leader: GroupLeader, executor: SteppedExecutor, bug: str
) -> None:
    await asked(leader, "a")
    members = [ask(leader, "b"), ask(leader, bug)]
    await settled()
    for stage in (0, 1):
        executor.finish(stage, times=2)
    assert [await task for task in members] == [BROKEN, BROKEN]
    assert leader.clocks.flights == {}


async def test_a_cancelled_member_takes_no_place_in_a_batch_that_has_not_begun(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    tasks = await asked(leader, "abcd")
    tasks[2].cancel()
    await settled()
    assert len(leader.clocks.flights) == 3
    executor.finish(0)
    await settled()
    assert begun(executor, 0) == ["a", "b+d"]


async def test_a_cancelled_member_of_a_batch_that_runs_leaves_the_others_their_answers(
    leader: GroupLeader, executor: SteppedExecutor
) -> None:
    tasks = await asked(leader, "abc")
    executor.finish(0)
    await settled()
    tasks[1].cancel()
    executor.finish(0)
    executor.finish(1, times=2)
    outcome = await tasks[2]
    assert isinstance(outcome, Served)
    assert tag_of(outcome.outputs) == "c"
    assert begun(executor, 1) == ["a", "b+c"]
    assert leader.clocks.flights == {}


async def test_a_batch_that_nobody_waits_for_is_not_run_on(leader: GroupLeader, executor: SteppedExecutor) -> None:
    tasks = await asked(leader, "abc")
    executor.finish(0)
    await settled()
    for task in tasks[1:]:
        task.cancel()
    executor.finish(0)
    executor.finish(1, times=2)
    await leader.drained()
    assert begun(executor, 1) == ["a"]
    assert leader.clocks.flights == {}
    assert max(leader.clocks.planned(monotonic())) <= monotonic()


async def test_a_member_whose_deadline_passes_on_the_way_ends_alone(executor: SteppedExecutor) -> None:
    async with GroupLeader("g1", 2, executor, queue_limit=100) as leader:
        await leader.load(replica("m", 0.001, 0.001, larger_batches={2: (0.001, 0.001)}))
        ask(leader, "a")
        await settled()
        hasty, patient = ask(leader, "hasty", remaining_s=0.2), ask(leader, "patient")
        await settled()
        executor.finish(0)
        await settled()
        await asyncio.sleep(0.25)
        executor.finish(0)
        executor.finish(1, times=2)
        late = Failed(Failure.DEADLINE_PASSED, "the deadline cannot be kept any more at stage 1", started=True)
        assert await hasty == late
        assert isinstance(await patient, Served)


async def test_unloading_waits_for_the_whole_line_of_the_model(leader: GroupLeader, executor: SteppedExecutor) -> None:
    tasks = await asked(leader, "abc")
    other = await asked(leader, "d", model="other")
    unloading = asyncio.create_task(leader.unload("m"))
    await settled()
    executor.finish(0)
    executor.finish(1)
    await settled()
    assert not unloading.done()
    executor.finish(0)
    executor.finish(1)
    await unloading
    assert [type(await task) for task in tasks] == [Served] * 3
    assert not other[0].done()
    assert executor.unloaded == ["m"]


async def test_a_group_that_ends_tells_every_member_whether_it_had_begun(executor: SteppedExecutor) -> None:
    async with GroupLeader("g1", 2, executor, queue_limit=100) as leader:
        await leader.load(replica("m", 10.0, 10.0, larger_batches={2: TWICE}))
        tasks = await asked(leader, "abcd")
        executor.finish(0)
        await settled()
    outcomes = [await task for task in tasks]
    assert [outcome.started for outcome in outcomes if isinstance(outcome, Failed)] == [True, True, True, False]


async def test_a_request_counts_once_in_a_full_queue_whatever_batch_it_is_in(executor: SteppedExecutor) -> None:
    async with GroupLeader("g1", 2, executor, queue_limit=3) as leader:
        await leader.load(replica("m", 10.0, 10.0, larger_batches={2: TWICE}))
        await asked(leader, "abcd")
        assert len(leader.clocks.flights) == 3


async def test_a_batch_on_its_way_ends_also_if_its_size_is_not_allowed_any_more() -> None:
    async with GroupLeader("g1", 2, EmulatedExecutor(2), queue_limit=100) as leader:
        await leader.load(replica("m", 0.01, 0.01, larger_batches={4: (0.03, 0.01)}))
        tasks = await asked(leader, "abcde")
        await tasks[0]
        await leader.load(replica("m", 0.01, 0.01))
        outcomes = await asyncio.gather(*tasks, *(await asked(leader, "fg")))
    assert [outcome.batch_size for outcome in outcomes if isinstance(outcome, Served)] == [1, 4, 4, 4, 4, 1, 1]


async def test_emulated_batches_take_the_time_that_is_profiled_for_their_size() -> None:
    executor = EmulatedExecutor(1)
    await executor.load(replica("m", 0.002, larger_batches={4: (0.003,)}))
    members = [executor.prepare("m", tagged(tag)) for tag in "abcde"]
    four = await executor.run_stage("m", 0, tuple(members[:4]))
    one = await executor.run_stage("m", 0, tuple(members[4:]))
    assert four.ready_s == members[3].ready_s + 0.003
    assert one.ready_s == four.ready_s + 0.002
    assert [tag_of(outputs) for outputs in executor.collect("m", four)] == list("abcd")
    assert [tag_of(outputs) for outputs in executor.collect("m", one)] == ["e"]
