"""What going from one placement to another changes."""

import pytest

from services.core.difference import ReplicaChange, difference, load_bytes
from services.core.errors import UnknownProfile
from services.core.placement import Group, Placement
from services.core.profile import ParallelConfig
from services.core.profile_documents import parse_profiles
from tests.planner.problems import entry, profiles

ONE, PIPELINE = ParallelConfig(1, 1), ParallelConfig(2, 1)
BEFORE = Placement((Group(ONE, (0,), ("a", "b")), Group(ONE, (1,), ("b",)), Group(PIPELINE, (2, 3), ("c",))))
AFTER = Placement((Group(PIPELINE, (2, 3), ("c", "a")), Group(ONE, (0,), ("b",)), Group(ONE, (4,), ("b", "d"))))


def test_groups_are_the_same_by_config_and_devices() -> None:
    changed = difference(BEFORE, AFTER)

    assert changed.kept == AFTER.groups[:2]
    assert changed.formed == AFTER.groups[2:]
    assert changed.dissolved == BEFORE.groups[1:2]


def test_replicas_are_counted_where_they_come_and_go() -> None:
    changed = difference(BEFORE, AFTER)

    assert changed.replicas == {
        "a": ReplicaChange(added=(0,), removed=(0,)),
        "b": ReplicaChange(added=(2,), removed=(1,)),
        "d": ReplicaChange(added=(2,), removed=()),
    }
    assert (changed.num_loads, changed.num_unloads) == (3, 2)


def test_nothing_changes_between_equals_in_another_order() -> None:
    changed = difference(BEFORE, Placement(BEFORE.groups[::-1]))

    assert (changed.formed, changed.dissolved, changed.replicas) == ((), (), {})
    assert len(changed.kept) == 3


def test_devices_in_another_order_make_another_group() -> None:
    turned = Placement((Group(PIPELINE, (3, 2), ("c",)),))

    assert len(difference(BEFORE, turned).formed) == 1


def test_the_bytes_of_a_replica_are_those_of_all_its_devices() -> None:
    document = profiles({"model": "p", "profiles": [entry(2, 2, 1.0, 30)]})

    assert load_bytes(parse_profiles(document)["p"], ParallelConfig(2, 2)) == 2 * 2 * 30
    with pytest.raises(UnknownProfile):
        load_bytes(parse_profiles(document)["p"], ONE)
