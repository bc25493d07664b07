"""Pictures: what is drawn where, and of how much."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from services.core.batched_simulator import simulate_as_placed
from services.core.records import Record
from services.pages.figures import percent, points, ticks
from services.pages.palette import paints
from services.pages.placement_picture import Labels, placement_picture
from services.pages.schedules import NOWHERE, Schedule, measured_schedule, predicted_schedule
from services.pages.timeline_picture import LEFT, MOST_BARS, MOST_MARKS, WIDTH, cut_of, timeline_picture
from tests.pages.cases import HOSTILE, placement, problem


def schedule() -> Schedule:
    return predicted_schedule(problem(), placement(), simulate_as_placed(problem(), placement()))


def many_runs(num_runs: int) -> Schedule:
    """One stage that is busy all the time; a request is missed at the end."""
    few = schedule()
    begin_s = np.arange(num_runs, dtype=np.float64)
    zeros = np.zeros(num_runs, dtype=np.int64)
    runs = replace(few.runs, lane=zeros, row=zeros, model=zeros, num_requests=zeros + 1, is_late=zeros > 0)
    misses = replace(few.misses, lane=zeros[:1], model=zeros[:1], at_s=begin_s[-1:], kind=("rejected",))
    return replace(few, runs=replace(runs, begin_s=begin_s, end_s=begin_s + 1), misses=misses, end_s=float(num_runs))


def test_groups_lie_in_their_nodes_with_what_they_hold() -> None:
    picture = placement_picture(placement(), problem().spec, problem().profiles, Labels(("g3", "g9"), {1: "west"}))

    first, second = picture.nodes
    assert [[group.name for group in node.groups] for node in picture.nodes] == [["g3"], ["g9"]]
    assert [bar.model for bar in first.groups[0].bars] == ["m0", HOSTILE]
    assert (second.title, second.unused, first.unused) == ("Node 1 · west", (3,), ())
    assert (first.groups[0].memory_share, picture.unplaced) == (0.4, ("idle",))


def test_no_two_of_a_picture_s_boxes_overlap() -> None:
    group = placement_picture(placement(), problem().spec).nodes[0].groups[0]

    rights = [(chip.x, chip.x + chip.width) for chip in group.chips]
    assert all(right <= left for (_, right), (left, _) in pairwise(rights))
    bottoms = [(bar.y, bar.y + bar.height) for bar in group.bars]
    assert all(bottom <= top for (_, bottom), (top, _) in pairwise(bottoms))
    assert max(bottom for _, bottom in bottoms) <= group.height


def test_a_timeline_has_a_row_per_stage_and_marks_what_is_missed() -> None:
    picture = timeline_picture(schedule(), cut_of(schedule()))

    assert [row.label for row in picture.rows if row.kind == "stage"] == ["stage 0", "stage 1", "stage 0"]
    assert picture.rows[-2].label == NOWHERE
    assert len(picture.bars) == 2 + 2 + 1
    assert len(picture.marks) == 2


def test_bars_lie_where_the_simulator_says() -> None:
    picture = timeline_picture(schedule(), cut_of(schedule()))

    first, second = (bar for bar in picture.bars if bar.title.startswith(("m0: 0.000", "m0: 1.000")))
    assert second.x == pytest.approx(first.x + first.width, abs=0.02)
    assert second.y > first.y


def test_large_runs_are_cut_to_where_most_is_missed() -> None:
    cut = cut_of(many_runs(5 * MOST_BARS))

    assert not cut.is_whole
    assert cut.begin_s > 3 * MOST_BARS
    assert f"{MOST_BARS:,} of {5 * MOST_BARS:,} stage runs, where most requests are missed" in cut.why
    assert len(timeline_picture(many_runs(5 * MOST_BARS), cut).bars) <= MOST_BARS


def test_a_window_that_is_too_long_is_shortened_and_says_so() -> None:
    cut = cut_of(many_runs(3 * MOST_BARS), begin_s=10, length_s=2.5 * MOST_BARS)

    assert cut.begin_s == 10
    assert cut.end_s == pytest.approx(10 + MOST_BARS, abs=2)
    assert "shortened" in cut.why


def test_marks_are_bounded_and_chosen_from_all_of_the_time() -> None:
    few = many_runs(10)
    zeros = np.zeros(3 * MOST_MARKS, dtype=np.int64)
    at_s = np.linspace(10, 0, len(zeros))
    crowded = replace(few, misses=replace(few.misses, lane=zeros, model=zeros, at_s=at_s, kind=("late",) * len(zeros)))

    picture = timeline_picture(crowded, cut_of(crowded))

    assert (len(picture.marks), picture.num_missed) == (MOST_MARKS, 3 * MOST_MARKS)
    xs = [mark.x for mark in picture.marks]
    assert xs == sorted(xs)
    assert (xs[0], xs[-1]) == (LEFT, WIDTH - 8)


def test_records_without_stages_are_drawn_by_group_in_rows_that_do_not_overlap() -> None:
    one = Record(0.0, "m0", 2.5, "served", 2.0, 0.0, "g1", 1.5)
    other = replace(one, arrival_s=0.5, latency_s=2.0)
    drawn = measured_schedule(("m0",), [one, other, replace(one, arrival_s=4.0)])

    assert drawn.lanes[0].rows == ("requests", "at once")
    assert drawn.runs.row.tolist() == [0, 1, 0]
    assert drawn.runs.begin_s.tolist() == [0.5, 1.0, 4.5]


def test_models_are_told_apart_by_colour_or_pattern() -> None:
    assert len({paint.name for paint in paints(map(str, range(54))).values()}) == 54


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.0 %"), (0.99999, "99.99 %"), (0.98765, "98.8 %"), (None, "–"), (0.0, "0.0 %")]
)
def test_a_share_below_one_never_reads_as_a_hundred(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_differences_have_a_sign() -> None:
    assert [points(0.0123), points(-0.5), points(0.0)] == ["+1.23", "−50.00", "0.00"]


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.3, 9.9, 10) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert ticks(5.0, 5.0, 10) == [5.0]
