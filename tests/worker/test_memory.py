"""Memory of a host's devices: the sum of heaviest stages, refused with the figures."""

import pytest

from services.core.errors import DoesNotFit
from services.worker.memory import DeviceMemory


def test_every_device_of_a_group_holds_the_models_heaviest_stage() -> None:
    memory = DeviceMemory(3, 100)
    memory.take("g1", "a", (0, 2), 30)
    memory.take("g2", "b", (2,), 50)
    assert memory.used_bytes() == [30, 0, 80]


def test_what_does_not_fit_changes_nothing_and_names_the_figures() -> None:
    memory = DeviceMemory(2, 100)
    memory.take("g1", "a", (1,), 60)
    with pytest.raises(DoesNotFit, match="'b' in group g2 needs 41 bytes on device 1, where 60 of 100 are in use"):
        memory.take("g2", "b", (0, 1), 41)
    assert memory.used_bytes() == [0, 60]


def test_a_device_may_be_filled_to_the_last_byte() -> None:
    memory = DeviceMemory(1, 100)
    memory.take("g1", "a", (0,), 60)
    memory.take("g1", "b", (0,), 40)
    assert memory.used_bytes() == [100]


def test_taking_again_holds_it_once() -> None:
    memory = DeviceMemory(1, 100)
    memory.take("g1", "a", (0,), 60)
    memory.take("g1", "a", (0,), 70)
    assert memory.used_bytes() == [70]


def test_a_group_that_is_gone_gives_back_all_it_held_and_no_more() -> None:
    memory = DeviceMemory(2, 100)
    memory.take("g1", "a", (0, 1), 10)
    memory.take("g1", "b", (0,), 20)
    memory.take("g2", "a", (0,), 40)
    memory.give_back_all("g1")
    assert memory.used_bytes() == [40, 0]


def test_only_the_named_replica_is_given_back() -> None:
    memory = DeviceMemory(1, 100)
    memory.take("g1", "a", (0,), 10)
    memory.take("g1", "b", (0,), 20)
    memory.take("g2", "a", (0,), 40)
    memory.give_back("g1", "a")
    memory.give_back("g1", "a")
    assert memory.used_bytes() == [60]
