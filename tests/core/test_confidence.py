"""Intervals of a measured attainment, and the search that they steer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.confidence import attainment_interval, design_effect, wilson
from services.core.errors import InvalidArgument
from services.core.rate_search import RateSearch


def test_the_interval_is_wilsons() -> None:
    # E. B. Wilson, 1927; the figures are those of R's prop.test(15, 20, correct = FALSE).
    interval = wilson(15, 20)

    assert (interval.low, interval.high) == pytest.approx((0.531299, 0.888138), abs=1e-6)


@given(st.integers(1, 10**7), st.floats(0, 1))
def test_the_share_lies_in_its_interval(num_requests: int, share: float) -> None:
    num_attained = round(share * num_requests)
    interval = wilson(num_attained, num_requests)

    assert 0 <= interval.low <= num_attained / num_requests <= interval.high <= 1


def test_nothing_is_known_without_requests() -> None:
    interval = attainment_interval(np.empty(0, dtype=np.bool_))

    assert (interval.low, interval.high) == (0.0, 1.0)


def test_misses_in_bursts_say_less_than_as_many_alone() -> None:
    alone = np.ones(2000, dtype=np.bool_)
    alone[::20] = False
    together = np.ones(2000, dtype=np.bool_)
    together[500:600] = False

    assert design_effect(alone) == 1.0
    assert design_effect(together) > 10
    assert attainment_interval(together).low < attainment_interval(alone).low


def test_an_interval_of_independent_requests_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [attainment_interval(rng.random(1000) < 0.97) for _ in range(1000)]

    assert sum(one.low <= 0.97 <= one.high for one in intervals) > 930


@given(st.floats(0.02, 900.0), st.sampled_from([0.01, 0.05, 0.5]), st.sampled_from([0.25, 1.0, 3.0]))
def test_the_search_ends_with_the_truth_between_a_narrow_bracket(truth: float, tolerance: float, first: float) -> None:
    search = RateSearch(tolerance, first)
    num_tries = 0
    while (scale := search.next) is not None:
        search.note(scale, scale <= truth)
        num_tries += 1

    assert search.low <= truth < search.high
    assert search.low == 0 or search.high == np.inf or search.high <= search.low * (1 + tolerance)
    assert num_tries < 40


@pytest.mark.parametrize(("tolerance", "first"), [(0.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.1, 1e6)])
def test_a_search_that_cannot_be_is_refused(tolerance: float, first: float) -> None:
    with pytest.raises(InvalidArgument):
        RateSearch(tolerance, first)
