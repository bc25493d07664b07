"""The steps of a transition with their times: what goes side by side, and how long models are down."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.deployment import DeployedGroup
from services.core.errors import InvalidArgument
from services.core.phasing import plan_transition
from services.core.placement import Group, Placement
from services.core.steps import Down, Schedule, Step, StepCosts, StepKind, StepTimes, schedule
from services.core.transition import Transition
from tests.core.test_transition import heaviest, needed_bytes, placements, running, single

FORM_S, DRAIN_S, SWITCH_S = 1.0, 0.5, 0.25


def load_s(group: Group, model: str) -> float:
    """A second a byte: 5 for "a", 7 for "b", 9 for "c", 13 for "d" on a single device."""
    return float(heaviest(model, group.config))


def drained_s(group: DeployedGroup, model: str, switched_s: float) -> float:
    return switched_s + DRAIN_S


TIMES = StepTimes(lambda group: FORM_S, load_s, drained_s, SWITCH_S)


def timed(before: Placement, target: Placement, memory_bytes: int) -> tuple[Transition, Schedule]:
    transition = plan_transition(running(*before.groups), target, heaviest, memory_bytes)
    return transition, schedule(transition, TIMES)


def test_groups_load_side_by_side_and_each_its_models_in_turn() -> None:
    before, target = Placement((single(0, "a"),)), Placement((single(0, "b"), single(1, "a", "c")))

    _, found = timed(before, target, memory_bytes=100)

    assert found.steps == (
        Step(StepKind.LOAD, 0, 0.0, 7.0, index=0, model="b"),
        Step(StepKind.FORM, 0, 0.0, 1.0, index=1),
        Step(StepKind.LOAD, 0, 1.0, 6.0, index=1, model="a"),
        Step(StepKind.LOAD, 0, 6.0, 15.0, index=1, model="c"),
        Step(StepKind.SWITCH, 0, 15.0, 15.25),
        Step(StepKind.UNLOAD, 0, 15.25, 15.5, group="g0", model="a"),
    )
    assert (found.down, found.end_s) == ((), 15.5)


def test_a_model_is_down_from_the_switch_that_takes_it_to_the_one_that_brings_it_back() -> None:
    """Each device has room for one of the models that change places."""
    before, target = Placement((single(0, "a"), single(1, "b"))), Placement((single(0, "b"), single(1, "a")))

    _, found = timed(before, target, memory_bytes=9)

    first_load = next(step for step in found.steps if step.kind is StepKind.LOAD)
    assert first_load == Step(StepKind.LOAD, 1, 0.5, 7.5, index=0, model="b")
    assert found.down == (Down("a", 0.0, 13.0),)


@given(before=placements(), target=placements(), spare=st.integers(0, 8))
def test_phases_follow_each_other_and_down_is_what_is_interrupted(
    before: Placement, target: Placement, spare: int
) -> None:
    transition, found = timed(before, target, needed_bytes(before, target) + spare)

    switches = [step for step in found.steps if step.kind is StepKind.SWITCH]
    assert len(switches) == max(1, len(transition.phases))
    for earlier, later in pairwise(switches):
        between = [step for step in found.steps if step.phase == later.phase and step.kind is StepKind.LOAD]
        assert all(earlier.end_s <= step.begin_s and step.end_s <= later.begin_s for step in between)
    assert {down.model for down in found.down} == set(transition.interrupted)
    assert all(down.end_s is not None and down.begin_s < down.end_s for down in found.down)


@given(before=placements(), target=placements(), spare=st.integers(0, 8))
def test_every_load_unload_and_dissolution_is_one_step(before: Placement, target: Placement, spare: int) -> None:
    transition, found = timed(before, target, needed_bytes(before, target) + spare)

    def steps(kind: StepKind) -> list[Step]:
        return [step for step in found.steps if step.kind is kind]

    assert sorted((step.index, step.model) for step in steps(StepKind.LOAD)) == sorted(transition.loads)
    unloads = sorted((step.group, step.model) for step in steps(StepKind.UNLOAD))
    assert unloads == sorted((ref.group, ref.model) for ref in transition.unloads)
    assert {step.group for step in steps(StepKind.DISSOLVE)} == {group.name for group in transition.dissolved}
    assert {step.index for step in steps(StepKind.FORM)} == {
        index for index in transition.formed if target.groups[index].models
    }


def test_the_model_that_is_asked_least_waits() -> None:
    before, target = running(single(0, "a"), single(1, "b")), Placement((single(0, "b"), single(1, "a")))

    waiting = [
        plan_transition(before, target, heaviest, 9, rates).interrupted
        for rates in ({"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 2.0})
    ]

    assert waiting == [("b",), ("a",)]


def test_room_is_made_on_many_devices_at_once_while_every_model_keeps_half_of_its_replicas() -> None:
    """All four devices are full of one model, and shall be of two others."""
    before = Placement(tuple(single(device, "a", "b") for device in range(4)))
    target = Placement((single(0, "d"), single(1, "d"), single(2, "d"), single(3, "a", "b")))

    transition, _ = timed(before, target, memory_bytes=13)

    assert [len(phase.loads) for phase in transition.phases] == [0, 2, 1]
    assert transition.interrupted == ()


@pytest.mark.parametrize("costs", [{"load_bytes_per_s": 0.0}, {"form_s": -1.0}, {"switch_s": float("inf")}])
def test_costs_that_mean_nothing_are_refused(costs: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(costs))):
        StepCosts(**costs)
