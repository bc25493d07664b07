"""Deadlines are brought forward where answers come late, and no further than a quarter."""

from hypothesis import given
from hypothesis import strategies as st

from services.router.margin import Margin


def test_without_a_late_answer_deadlines_stay() -> None:
    assert Margin().of(0.1, 5.0) == 0.0


def test_late_answers_add_up_and_time_takes_them_away() -> None:
    margin = Margin()
    margin.note_late(0.1, 10.0)
    once_s = margin.of(0.1, 10.0)
    margin.note_late(0.1, 10.0)
    twice_s = margin.of(0.1, 10.0)
    assert 0 < once_s < twice_s
    assert margin.of(0.1, 60.0) < once_s / 100


@given(late=st.lists(st.floats(1e-3, 60.0), max_size=100), allowed_s=st.floats(1e-3, 60.0))
def test_a_margin_never_takes_more_than_a_quarter(late: list[float], allowed_s: float) -> None:
    margin = Margin()
    for number, late_s in enumerate(late):
        margin.note_late(late_s, 0.1 * number)
    assert 0 <= margin.of(allowed_s, 10.0) <= allowed_s / 4


@given(late=st.lists(st.floats(1e-3, 60.0), max_size=20), last_s=st.floats(1e-3, 60.0), allowed_s=st.floats(1e-3, 60.0))
def test_a_late_answer_never_lowers_the_margin(late: list[float], last_s: float, allowed_s: float) -> None:
    margin = Margin()
    for late_s in late:
        margin.note_late(late_s, 1.0)
    before_s = margin.of(allowed_s, 1.0)
    margin.note_late(last_s, 1.0)
    assert margin.of(allowed_s, 1.0) >= before_s
