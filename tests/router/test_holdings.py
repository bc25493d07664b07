"""How much a router holds at once."""

import pytest

from services.core.errors import SloUnattainable
from services.router.holdings import Holdings


def test_a_request_more_than_the_most_is_refused_by_name_until_one_leaves() -> None:
    holdings = Holdings(max_in_flight=2, max_bytes=100)
    holdings.enter(1)
    holdings.enter(1)
    with pytest.raises(SloUnattainable, match="2 requests already") as refused:
        holdings.enter(1)
    assert refused.value.retry_after_s > 0
    holdings.leave(1, 0)
    holdings.enter(1)


def test_bytes_beyond_the_most_are_refused_until_others_leave() -> None:
    holdings = Holdings(max_in_flight=9, max_bytes=100)
    holdings.enter(1)
    assert holdings.take(60) == 60
    holdings.enter(1)
    with pytest.raises(SloUnattainable, match="60 bytes of requests already"):
        holdings.take(41)
    holdings.leave(1, 60)
    assert holdings.take(41) == 41


def test_one_request_alone_may_be_of_any_size() -> None:
    holdings = Holdings(max_in_flight=9, max_bytes=100)
    holdings.enter(1)
    assert holdings.take(1000) == 1000
