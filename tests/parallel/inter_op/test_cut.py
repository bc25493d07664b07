"""The min-max cut of layers into stages."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.core.errors import InvalidArgument
from services.parallel.inter_op.cut import (
    check_boundaries,
    equal_blocks,
    equal_layers,
    imbalance_s,
    interval_sums,
    min_max_boundaries,
)

Costs = NDArray[np.float64]


def all_boundaries(num_layers: int, num_stages: int) -> list[tuple[int, ...]]:
    return [(0, *cut, num_layers) for cut in combinations(range(1, num_layers), num_stages - 1)]


def slowest_stage(costs: Costs, boundaries: tuple[int, ...]) -> float:
    return max(float(costs[start, stop - 1]) for start, stop in pairwise(boundaries))


@st.composite
def cut_problems(draw: st.DrawFn) -> tuple[Costs, Costs, int, float]:
    """Latencies and bytes of every run of layers, unrelated to each other; stages; memory."""
    num_layers = draw(st.integers(1, 7))
    cells = st.lists(st.integers(0, 20), min_size=num_layers**2, max_size=num_layers**2)
    latency_s, stage_bytes = (np.array(draw(cells), dtype=np.float64).reshape(num_layers, num_layers) for _ in range(2))
    return latency_s, stage_bytes, draw(st.integers(1, num_layers)), float(draw(st.integers(0, 20)))


@given(cut_problems())
def test_no_cut_has_a_faster_slowest_stage(problem: tuple[Costs, Costs, int, float]) -> None:
    latency_s, _, num_stages, _ = problem

    boundaries = min_max_boundaries(latency_s, num_stages)

    best = min(slowest_stage(latency_s, other) for other in all_boundaries(len(latency_s), num_stages))
    assert boundaries is not None
    check_boundaries(boundaries, len(latency_s), num_stages)
    assert slowest_stage(latency_s, boundaries) == best


@given(cut_problems())
def test_a_memory_limit_leaves_the_best_cut_that_fits_or_none(problem: tuple[Costs, Costs, int, float]) -> None:
    latency_s, stage_bytes, num_stages, memory_bytes = problem

    boundaries = min_max_boundaries(latency_s, num_stages, stage_bytes, memory_bytes)

    others = all_boundaries(len(latency_s), num_stages)
    fitting = [other for other in others if slowest_stage(stage_bytes, other) <= memory_bytes]
    expected = min((slowest_stage(latency_s, other) for other in fitting), default=None)
    assert (boundaries in fitting) == bool(fitting)
    assert (None if boundaries is None else slowest_stage(latency_s, boundaries)) == expected


@st.composite
def uneven_layers(draw: st.DrawFn) -> tuple[list[int], list[int], int, int]:
    """Latency and bytes of every layer, all small integers, so that sums are exact; stages; memory."""
    num_layers = draw(st.integers(1, 9))
    latencies, weights = (draw(st.lists(st.integers(0, 9), min_size=num_layers, max_size=num_layers)) for _ in range(2))
    return latencies, weights, draw(st.integers(1, num_layers)), draw(st.integers(0, 40))


@given(uneven_layers())
@settings(max_examples=300)
def test_uneven_layers_are_cut_as_if_all_cuts_had_been_compared(problem: tuple[list[int], list[int], int, int]) -> None:
    latencies, weights, num_stages, memory_bytes = problem

    boundaries = min_max_boundaries(
        interval_sums(np.array(latencies, dtype=np.float64)),
        num_stages,
        interval_sums(np.array(weights, dtype=np.float64)),
        memory_bytes,
    )

    fitting = [cut for cut in every_cut(len(latencies), num_stages) if max(stage_sums(weights, cut)) <= memory_bytes]
    expected = min((worth(stage_sums(latencies, cut)) for cut in fitting), default=None)
    assert (None if boundaries is None else worth(stage_sums(latencies, boundaries))) == expected
    assert boundaries is None or boundaries in fitting


def every_cut(num_layers: int, num_stages: int) -> list[tuple[int, ...]]:
    """By recursion on the last stage, which is another way than `all_boundaries`."""
    if num_stages == 1:
        return [(0, num_layers)]
    return [
        (*head, num_layers) for first in range(num_stages - 1, num_layers) for head in every_cut(first, num_stages - 1)
    ]


def stage_sums(costs: list[int], boundaries: tuple[int, ...]) -> list[int]:
    return [sum(costs[start:stop]) for start, stop in pairwise(boundaries)]


def worth(stages: list[int]) -> tuple[int, int]:
    """The slowest stage first, then how uneven the stages are."""
    return max(stages), sum(stage**2 for stage in stages)


def test_of_cuts_with_the_same_slowest_stage_the_most_even_is_chosen() -> None:
    costs = interval_sums(np.array([9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]))

    assert min_max_boundaries(costs, 3) == (0, 1, 4, 7)


def test_identical_layers_are_cut_alike_whatever_they_cost() -> None:
    cuts = {min_max_boundaries(interval_sums(np.full(26, cost)), 8) for cost in (1.0, 0.1, 1 / 3, 7e-12, 1e9)}

    assert len(cuts) == 1


def test_layers_that_cost_nothing_are_cut_too() -> None:
    boundaries = min_max_boundaries(interval_sums(np.zeros(4)), 2)

    assert boundaries is not None
    check_boundaries(boundaries, num_layers=4, num_stages=2)


def test_the_heavy_layer_gets_a_stage_of_its_own() -> None:
    costs = interval_sums(np.array([1.0, 1.0, 1.0, 10.0, 1.0]))

    assert min_max_boundaries(costs, 3) == (0, 3, 4, 5)


def test_interval_sums_add_the_layers_of_a_run() -> None:
    sums = interval_sums(np.array([1.0, 2.0, 4.0]))

    assert sums.tolist() == [[1, 3, 7], [np.inf, 2, 6], [np.inf, np.inf, 4]]


@pytest.mark.parametrize(
    ("num_layers", "num_stages", "expected"), [(8, 2, (0, 4, 8)), (8, 3, (0, 2, 5, 8)), (3, 3, (0, 1, 2, 3))]
)
def test_equal_layers_differ_by_one_at_most(num_layers: int, num_stages: int, expected: tuple[int, ...]) -> None:
    assert equal_layers(num_layers, num_stages) == expected


@pytest.mark.parametrize(
    ("num_layers", "num_stages", "expected"),
    [(26, 2, (0, 13, 26)), (26, 8, (0, 4, 7, 10, 13, 16, 19, 22, 26)), (18, 4, (0, 5, 9, 13, 18))],
)
def test_equal_blocks_leave_the_ends_to_the_outer_stages(
    num_layers: int, num_stages: int, expected: tuple[int, ...]
) -> None:
    assert equal_blocks(num_layers, num_stages) == expected


def test_imbalance_is_what_the_stages_wait_for_the_slowest() -> None:
    assert imbalance_s((2.0, 3.0, 1.0)) == 3.0


@pytest.mark.parametrize("num_stages", [0, 4])
def test_stages_without_layers_are_refused(num_stages: int) -> None:
    with pytest.raises(InvalidArgument, match=f"3 layers cannot be cut into {num_stages}"):
        min_max_boundaries(interval_sums(np.ones(3)), num_stages)


@pytest.mark.parametrize("boundaries", [(0, 4), (0, 2, 3), (1, 2, 4), (0, 0, 4), (0, 5, 4), ()])
def test_boundaries_that_do_not_cut_the_model_are_refused(boundaries: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match="4 layers into 2 stages"):
        check_boundaries(boundaries, num_layers=4, num_stages=2)
