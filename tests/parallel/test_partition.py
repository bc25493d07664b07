"""The min-max cut of layers into stages."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.core.errors import InvalidArgument
from services.parallel.partition import check_boundaries, equal_layers, interval_sums, min_max_boundaries

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


@pytest.mark.parametrize("num_stages", [0, 4])
def test_stages_without_layers_are_refused(num_stages: int) -> None:
    with pytest.raises(InvalidArgument, match=f"3 layers cannot be cut into {num_stages}"):
        min_max_boundaries(interval_sums(np.ones(3)), num_stages)


@pytest.mark.parametrize("boundaries", [(0, 4), (0, 2, 3), (1, 2, 4), (0, 0, 4), (0, 5, 4), ()])
def test_boundaries_that_do_not_cut_the_model_are_refused(boundaries: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match="4 layers into 2 stages"):
        check_boundaries(boundaries, num_layers=4, num_stages=2)
