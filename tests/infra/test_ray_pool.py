"""What is sent to Ray tasks, and what happens without Ray."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.infra.ray_pool import check_answers, pack, ray_pool, run_packed, unpack


@dataclass(eq=False)
class Part:
    """Large, and the same in many items."""

    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(10_000))


@dataclass(eq=False)
class Item:
    part: Part
    number: int


def doubled(item: Item) -> Item:
    return Item(item.part, 2 * item.number)


def is_writable(item: Item) -> bool:
    item.part.values[0] = 1.0
    return True


def doubled_here(function: object, items: object) -> list[str]:
    return ["here"]


def test_shared_parts_stay_out_of_what_is_packed() -> None:
    item = Item(Part(), 1)
    shared: list[Any] = []

    packed = pack(item, (Part,), shared)
    unpacked = unpack(packed, shared)

    assert len(packed) < 1000
    assert shared == [item.part]
    assert unpacked.part is item.part
    assert unpacked.number == 1


def test_a_result_names_the_shared_part_that_it_holds() -> None:
    item = Item(Part(), 3)
    shared: list[Any] = []
    packed = pack((doubled, item), (Part,), shared)
    (part,) = (pack(one, (), []) for one in shared)

    result = run_packed(packed, part)

    assert len(result) < 1000
    assert unpack(result, shared).part is item.part
    assert unpack(result, shared).number == 6


def test_a_task_may_write_to_what_it_is_sent() -> None:
    item = Item(Part(), 3)
    shared: list[Any] = []
    packed = pack((is_writable, item), (Part,), shared)

    assert unpack(run_packed(packed, pack(item.part, (), [])), shared) is True
    assert item.part.values[0] == 0.0


async def test_a_cluster_that_nobody_answers_for_is_done_without(unused_tcp_port: int) -> None:
    async with ray_pool(f"127.0.0.1:{unused_tcp_port}", (Part,), doubled_here) as pool:
        assert pool(doubled, [1]) == ["here"]


def test_an_address_is_tried_before_ray_tries_it_for_a_minute(unused_tcp_port: int) -> None:
    with pytest.raises(OSError, match="refused"):
        check_answers(f"ray://127.0.0.1:{unused_tcp_port}")
