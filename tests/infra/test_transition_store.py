"""The record of the last transition and its feed, and what steps took, against a real Redis."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.core.steps import Down, Step, StepKind
from services.infra.store.transitions import (
    Experience,
    StepRecord,
    TransitionRecord,
    TransitionState,
    TransitionStore,
)

PAIR = ParallelConfig(2, 1)
RECORD = TransitionRecord(
    number=3,
    state=TransitionState.RUNNING,
    version=7,
    policy="given",
    target=Placement((Group(PAIR, (4, 5), ("m",)),), "earliest-finish", 4),
    began_at_s=12.5,
    predicted_s=2.5,
    steps=(
        StepRecord(Step(StepKind.LOAD, 0, 0.0, 1.5, index=0, model="m"), "g1", PAIR, (4, 5), 10, 0.25, 1.25),
        StepRecord(Step(StepKind.SWITCH, 0, 1.5, 2.5)),
    ),
    predicted_down=(Down("m", 0.0, 1.5),),
    down=(Down("m", 0.25),),
)


@pytest.fixture
def store(redis: Redis) -> TransitionStore:
    return TransitionStore(redis)


async def test_before_any_transition_there_is_no_record(store: TransitionStore) -> None:
    assert await store.last() is None
    assert await store.experience() == {}


async def test_a_record_comes_back_in_every_detail(store: TransitionStore) -> None:
    await store.put(RECORD)
    assert await store.last() == RECORD


async def test_the_feed_tells_what_is_and_every_change(store: TransitionStore) -> None:
    applied = replace(RECORD, state=TransitionState.APPLIED, transition_s=2.0)
    seen = []
    async for record in store.watch():
        seen.append(record)
        if record == applied:
            break
        await store.put(RECORD if record is None else applied)
    assert seen == [None, RECORD, applied]


async def test_numbers_are_given_once(store: TransitionStore) -> None:
    assert [await store.new_number() for _ in range(3)] == [1, 2, 3]


async def test_experience_is_kept_by_worker(store: TransitionStore) -> None:
    await store.put_experience({"w": Experience((1e9, 2e9), (0.5,), ()), "v": Experience(switch_s=(0.25,))})
    await store.put_experience({"v": Experience(form_s=(1.0,))})
    assert await store.experience() == {"w": Experience((1e9, 2e9), (0.5,), ()), "v": Experience(form_s=(1.0,))}
