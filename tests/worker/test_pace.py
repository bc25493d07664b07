"""How a leader learns that its devices are slower than profiled."""

import pytest

from services.worker.leader.pace import Pace


def test_without_runs_the_profile_stands() -> None:
    assert Pace().factor(0.0) == 1.0


def test_runs_within_a_tenth_of_the_profile_change_nothing() -> None:
    pace = Pace()

    for number in range(50):
        pace.note(0.105, 0.1, float(number) / 10)

    assert pace.factor(5.0) == 1.0


def test_faster_runs_promise_no_more_than_the_profile() -> None:
    pace = Pace()

    pace.note(0.01, 1.0, 0.0)

    assert pace.factor(0.0) == 1.0


def test_slow_runs_slow_the_predictions() -> None:
    pace = Pace()

    for number in range(50):
        pace.note(0.3, 0.1, float(number) / 10)

    assert pace.factor(5.0) == pytest.approx(3.0, rel=0.2)


def test_slow_runs_of_long_ago_are_forgotten() -> None:
    pace = Pace()

    pace.note(10.0, 1.0, 0.0)

    assert pace.factor(0.0) > 5
    assert pace.factor(60.0) == 1.0
