"""Transitions: what goes, what comes, and in which order, on a model of the devices' memory."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.deployment import DeployedGroup, Deployment
from services.core.phasing import plan_transition
from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.core.transition import Phase, ReplicaRef, Transition

SIZES = {"a": 4, "b": 6, "c": 8, "d": 12}
CONFIGS = (ParallelConfig(1, 1), ParallelConfig(2, 1), ParallelConfig(1, 2), ParallelConfig(2, 2), ParallelConfig(4, 1))
NUM_DEVICES = 6
Shape = tuple[ParallelConfig, tuple[int, ...]]


def heaviest(model: str, config: ParallelConfig) -> int:
    """Bytes on each device of a group; one more than an even share, as layers do not divide evenly."""
    return SIZES[model] // config.num_devices + 1


def running(*groups: Group) -> Deployment:
    deployed = [
        DeployedGroup(f"g{index}", group.config, group.devices, "w", "", dict.fromkeys(group.models, ()))
        for index, group in enumerate(groups)
    ]
    return Deployment(version=1, groups=tuple(deployed))


def single(device: int, *models: str) -> Group:
    return Group(ParallelConfig(1, 1), (device,), models)


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    groups = []
    free = list(draw(st.permutations(range(NUM_DEVICES))))
    for config in draw(st.lists(st.sampled_from(CONFIGS), max_size=4)):
        if config.num_devices <= len(free):
            devices, free = tuple(free[: config.num_devices]), free[config.num_devices :]
            groups.append(Group(config, devices, tuple(draw(st.sets(st.sampled_from("abcd"))))))
    return Placement(tuple(groups))


class Memory:
    """What the devices hold while a transition is carried out."""

    def __init__(self, replicas: Iterable[tuple[Shape, str]]) -> None:
        self.held = set(replicas)

    def used(self) -> Counter[int]:
        used: Counter[int] = Counter()
        for (config, devices), model in self.held:
            used.update(dict.fromkeys(devices, heaviest(model, config)))
        return used

    def peak(self) -> int:
        return max(self.used().values(), default=0)


def replicas_of(groups: Iterable[Group]) -> set[tuple[Shape, str]]:
    return {((group.config, group.devices), model) for group in groups for model in group.models}


def needed_bytes(*placed: Placement) -> int:
    return max(Memory(replicas_of(placement.groups)).peak() for placement in placed)


def carried_out(before: Placement, target: Placement, transition: Transition) -> tuple[list[int], Memory, set[str]]:
    """The fullest device after every step, what is held at the end, and the models that some switch leaves
    without a group."""
    memory = Memory(replicas_of(before.groups))
    names = {f"g{index}": (group.config, group.devices) for index, group in enumerate(before.groups)}
    served = {model for _, model in memory.held}
    peaks, lost = [memory.peak()], set()
    for phase in transition.phases:
        for index, model in phase.loads:
            memory.held.add(((target.groups[index].config, target.groups[index].devices), model))
            peaks.append(memory.peak())
        for ref in phase.unloads:
            memory.held.remove((names[ref.group], ref.model))
        lost |= served - {model for _, model in memory.held}
    return peaks, memory, lost


@given(before=placements(), target=placements(), spare=st.integers(0, 8))
def test_no_step_exceeds_memory_and_the_end_is_the_target(before: Placement, target: Placement, spare: int) -> None:
    memory_bytes = needed_bytes(before, target) + spare
    transition = plan_transition(running(*before.groups), target, heaviest, memory_bytes)
    peaks, memory, _ = carried_out(before, target, transition)
    assert max(peaks) <= memory_bytes
    assert memory.held == replicas_of(target.groups)


@given(before=placements(), target=placements(), spare=st.integers(0, 8))
def test_everything_is_loaded_before_anything_goes_exactly_where_both_fit_at_once(
    before: Placement, target: Placement, spare: int
) -> None:
    both = Memory(replicas_of(before.groups) | replicas_of(target.groups)).peak()
    memory_bytes = needed_bytes(before, target) + spare
    transition = plan_transition(running(*before.groups), target, heaviest, memory_bytes)
    assert all(phase.loads == () for phase in transition.phases[1:]) == (both <= memory_bytes)


@given(before=placements(), target=placements(), spare=st.integers(0, 8))
def test_interrupted_are_exactly_the_wanted_models_that_a_switch_leaves_without_a_group(
    before: Placement, target: Placement, spare: int
) -> None:
    memory_bytes = needed_bytes(before, target) + spare
    transition = plan_transition(running(*before.groups), target, heaviest, memory_bytes)
    _, _, lost = carried_out(before, target, transition)
    wanted = {model for group in target.groups for model in group.models}
    assert set(transition.interrupted) == lost & wanted


@given(before=placements(), target=placements())
def test_with_memory_for_both_no_model_is_interrupted(before: Placement, target: Placement) -> None:
    both = Memory(replicas_of(before.groups) | replicas_of(target.groups)).peak()
    transition = plan_transition(running(*before.groups), target, heaviest, both)
    assert transition.interrupted == ()


@given(before=placements(), target=placements())
def test_groups_are_kept_formed_or_dissolved_by_their_shape(before: Placement, target: Placement) -> None:
    transition = plan_transition(running(*before.groups), target, heaviest, 1000)
    old = {(group.config, group.devices) for group in before.groups}
    new = [(group.config, group.devices) for group in target.groups]
    assert {index: group.shape for index, group in transition.kept.items()} == {
        index: shape for index, shape in enumerate(new) if shape in old
    }
    assert [new[index] for index in transition.formed] == [shape for shape in new if shape not in old]
    assert {group.shape for group in transition.dissolved} == old - set(new)


@given(placement=placements())
def test_what_runs_already_changes_nothing(placement: Placement) -> None:
    transition = plan_transition(running(*placement.groups), placement, heaviest, needed_bytes(placement))
    assert (transition.phases, transition.formed, transition.dissolved) == ((), (), ())


def test_a_kept_group_loads_and_unloads_only_the_difference() -> None:
    transition = plan_transition(
        running(single(0, "a", "b")), Placement((single(0, "b", "c"),)), heaviest, memory_bytes=100
    )
    assert transition.phases == (Phase(((0, "c"),), (ReplicaRef("g0", "a"),)),)


def test_a_model_that_stays_reachable_elsewhere_goes_before_one_that_does_not() -> None:
    before = running(single(0, "a", "b"), single(1, "a"))
    target = Placement((single(0, "c"), single(1, "a", "b")))
    transition = plan_transition(before, target, heaviest, memory_bytes=5 + 7)
    assert transition.phases[0] == Phase(((1, "b"),), (ReplicaRef("g0", "a"), ReplicaRef("g0", "b")))
    assert transition.interrupted == ()


def test_a_model_that_is_not_wanted_any_more_goes_before_the_last_replica_of_one_that_is() -> None:
    before = running(single(0, "a", "b"), single(1, "d"))
    target = Placement((single(0, "c"), single(1, "a")))
    transition = plan_transition(before, target, heaviest, memory_bytes=5 + 9)
    assert transition.phases[0].unloads == (ReplicaRef("g0", "b"),)
    assert transition.interrupted == ()


@pytest.mark.parametrize(("memory_bytes", "interrupted"), [(25, ()), (24, ("d",)), (14, ("d",))])
def test_a_model_is_down_only_if_it_does_not_fit_beside_itself(memory_bytes: int, interrupted: tuple[str, ...]) -> None:
    """The model holds 13 bytes on its device now, and will hold 7 beside another's 5."""
    before = running(single(0, "d"))
    target = Placement((Group(ParallelConfig(2, 1), (0, 1), ("c", "d")),))
    transition = plan_transition(before, target, heaviest, memory_bytes)
    assert transition.interrupted == interrupted


def test_two_models_change_places_over_room_that_a_third_lends() -> None:
    """Memory is full: "c" is on both devices, so one of its replicas goes and comes back."""
    before = running(single(0, "a", "c"), single(1, "b", "c"))
    target = Placement((single(0, "b", "c"), single(1, "a", "c")))
    transition = plan_transition(before, target, heaviest, memory_bytes=7 + 9)
    steps, memory, _ = carried_out(Placement((single(0, "a", "c"), single(1, "b", "c"))), target, transition)
    assert transition.interrupted == ()
    assert transition.phases[0] == Phase((), (ReplicaRef("g0", "c"),))
    assert memory.held == replicas_of(target.groups)
    assert max(steps) <= 7 + 9
