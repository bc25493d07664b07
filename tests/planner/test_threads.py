"""Work in threads: who hears of what, and when."""

import threading
import time

import pytest

from services.planner.policies.threads import aside, unordered


def test_a_result_comes_from_aside() -> None:
    assert aside(divmod, 7, 2).result(10) == (3, 1)


def test_a_failure_comes_from_aside() -> None:
    with pytest.raises(ZeroDivisionError):
        aside(divmod, 7, 0).result(10)


def test_results_are_told_as_they_are_done() -> None:
    has_told = threading.Event()

    def wait_for_the_other(item: int) -> int:
        assert item or has_told.wait(10)
        return item

    with unordered(2) as pool:
        results = iter(pool(wait_for_the_other, [0, 1]))
        first = next(results)
        has_told.set()

        assert [first, *results] == [1, 0]


def test_what_waits_is_dropped_at_a_failure() -> None:
    tried = []

    def fail_slowly(item: int) -> None:
        tried.append(item)
        time.sleep(0.05)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"), unordered(1) as pool:
        list(pool(fail_slowly, range(50)))

    assert len(tried) < 50
