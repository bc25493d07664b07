"""How much a router holds at once."""

import pytest

from services.core.errors import InvalidInput, SloUnattainable
from services.router.holdings import Holdings


def test_a_request_more_than_the_most_is_refused_by_name_until_one_leaves() -> None:
    holdings = Holdings(max_in_flight=2, max_bytes=100)
    holdings.enter()
    holdings.enter()
    with pytest.raises(SloUnattainable, match="2 requests already") as refused:
        holdings.enter()
    assert refused.value.retry_after_s > 0
    holdings.leave(1, 0)
    holdings.enter()


def test_the_examples_of_a_request_are_held_together_or_not_at_all() -> None:
    holdings = Holdings(max_in_flight=4, max_bytes=100)
    assert (holdings.enter(), holdings.enter(), holdings.join(0)) == (1, 1, 0)
    with pytest.raises(SloUnattainable, match="2 requests already"):
        holdings.join(3)
    assert holdings.join(2) == 2
    holdings.leave(3, 0)
    assert holdings.join(3) == 3


def test_more_examples_than_are_ever_held_are_refused_for_good() -> None:
    with pytest.raises(InvalidInput, match="a batch of 5 examples, allowed are 4"):
        Holdings(max_in_flight=4, max_bytes=100).join(4)


def test_bytes_beyond_the_most_are_refused_until_others_leave() -> None:
    holdings = Holdings(max_in_flight=9, max_bytes=100)
    holdings.enter()
    assert holdings.take(60) == 60
    holdings.enter()
    with pytest.raises(SloUnattainable, match="60 bytes of requests already"):
        holdings.take(41)
    holdings.leave(1, 60)
    assert holdings.take(41) == 41


def test_one_request_alone_may_be_of_any_size() -> None:
    holdings = Holdings(max_in_flight=9, max_bytes=100)
    holdings.enter()
    assert holdings.take(1000) == 1000
