"""What the solver tells is an upper bound, tight where it finds the optimum."""

import numpy as np
import pytest

from services.planner.policies.bound_solver import Rows, highest


def rows(most: float) -> list[Rows]:
    """x + y <= most, and x <= 2."""
    sum_of_both = Rows(np.array([0, 0]), np.array([0, 1]), np.array([1, 1]), np.array([most]))
    first_alone = Rows(np.array([0]), np.array([0]), np.array([1]), np.array([2]))
    return [sum_of_both, first_alone]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(4.0, 2 * 3.0 + 2 * 1.0), (1.0, 3.0), (9.0, 2 * 3.0 + 5 * 1.0), (0.0, 0.0)],
)
def test_the_highest_is_the_optimum(most: float, expected: float) -> None:
    found = highest(np.array([3.0, 1.0]), np.array([7.0, 5.0]), rows(most))

    assert found == pytest.approx(expected)


def test_without_an_optimum_every_unknown_is_taken_at_its_most() -> None:
    found = highest(np.array([3.0, 1.0]), np.array([7.0, 5.0]), rows(-1.0))

    assert found >= 7 * 3.0 + 5 * 1.0
