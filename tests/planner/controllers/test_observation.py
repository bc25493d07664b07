"""What controllers see, and the traffic that they expect of it."""

import numpy as np
import pytest

from services.core.arrivals import gamma_workload
from services.core.errors import InvalidWorkload
from services.planner.controllers.closed_loop import counted
from services.planner.controllers.observation import ArrivalCounts, Observation
from services.planner.controllers.outlook import Expected, Known, Outlook, SameAgain
from tests.planner.controllers.turns import turns


def test_counts_are_summed_from_the_latest_on() -> None:
    counts = ArrivalCounts(1.0, np.array([[9, 1, 2, 3, 4]]))

    assert counts.summed(2.0).counts.tolist() == [[3, 7]]
    assert counts.latest(2.0).counts.tolist() == [[3, 4]]


def test_a_model_without_counts_is_silent() -> None:
    seen = Observation.of(("a", "b"), 3.0, {"b": np.array([1, 0, 2]), "stranger": np.array([5, 5, 5])})

    assert seen.recent.counts.tolist() == [[0, 0, 0], [1, 0, 2]]
    assert seen.recent.rates_per_s.tolist() == [0.0, 1.0]
    assert seen.num_requests == 3


@pytest.mark.parametrize(
    ("bucket_s", "counts", "named"),
    [(0.0, [[1]], "0.0"), (1.0, [[1, -3]], "-3"), (1.0, [1, 2], r"\(2,\)")],
)
def test_counts_that_are_none_are_refused(bucket_s: float, counts: list[object], named: str) -> None:
    with pytest.raises(InvalidWorkload, match=named):
        ArrivalCounts(bucket_s, np.array(counts))


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidWorkload, match=r"\[1, 2\]"):
        Observation.of(("a", "b"), 3.0, {"a": np.array([1]), "b": np.array([1, 2])})


def test_arrivals_are_counted_where_they_are() -> None:
    workload = turns(10.0, 2)

    counts = counted(workload, 5.0, 4).counts

    assert counts.sum() == len(workload)
    assert (counts[0, 2:] == 0).all()
    assert (counts[1, :2] == 0).all()


def test_gaps_keep_their_variation_in_buckets() -> None:
    workload = gamma_workload({"steady": 2.0, "bursty": 2.0, "silent": 0.0}, 1.0, 1800.0, 0)
    bursty = gamma_workload({"steady": 0.0, "bursty": 2.0, "silent": 0.0}, 5.0, 1800.0, 1)
    rows = counted(workload, 1.0, 1800).counts[:1], counted(bursty, 1.0, 1800).counts[1:]
    seen = Observation.of(workload.names, 1800.0, dict(zip(workload.names, np.concatenate(rows), strict=True)))

    steady_cv, bursty_cv, _ = seen.gap_cvs()

    assert 0.9 < steady_cv < 1.2
    assert 3.0 < bursty_cv < 7.0


def test_draws_have_the_expected_rates_where_they_are_expected() -> None:
    rates = np.array([[1.0, 3.0], [0.5, 0.0]])
    expected = Expected(("a", "b"), rates, 2_000.0, np.zeros(2), np.array([1.0, 2.0]))

    draws = expected.draws(4, 0)
    counts = np.mean([counted(own, 2_000.0, 2).counts for own in draws], axis=0)

    assert np.abs(counts / 2_000.0 - rates).max() < 0.15
    assert expected.rates_per_s.tolist() == [2.0, 0.25]


def test_uncertain_rates_differ_from_draw_to_draw_around_the_same_mean() -> None:
    sure, unsure = (
        Expected(("a",), np.array([[2.0]]), 500.0, np.array([spread]), np.array([1.0])) for spread in (0.0, 0.5)
    )

    num_sure, num_unsure = ([len(draw) for draw in own.draws(200, 0)] for own in (sure, unsure))

    assert np.std(num_unsure) > 5 * np.std(num_sure)
    assert abs(np.mean(num_unsure) / np.mean(num_sure) - 1) < 0.15


def test_the_same_again_fills_the_horizon_with_fresh_arrivals() -> None:
    seen = turns(100.0, 2)

    first, second = SameAgain(seen, 200.0, 1_000.0).draws(2, 0)

    assert first.arrival_s[-1] > 950
    assert abs(len(first) / len(seen) - 5) < 1
    assert len(first) != len(second) or not np.array_equal(first.arrival_s, second.arrival_s)


def test_what_is_known_is_drawn_once() -> None:
    coming = turns(100.0, 1)

    assert Known(coming, 100.0).draws(8, 0) == (coming,)


@pytest.mark.parametrize(
    "outlook",
    [
        SameAgain(turns(100.0, 2), 200.0, 1_000.0),
        Expected(("a",), np.array([[2.0, 2.0]]), 500.0, np.zeros(1), np.ones(1)),
        Known(turns(100.0, 10), 1_000.0),
    ],
)
@pytest.mark.parametrize("until_s", [70.0, 550.0])
def test_the_begin_of_the_horizon_can_be_drawn_alone(outlook: Outlook, until_s: float) -> None:
    (draw, *_) = outlook.draws(1, 0, until_s)

    assert 0.9 * until_s < draw.arrival_s[-1] < until_s
    assert len(draw) == pytest.approx(outlook.rates_per_s.sum() * until_s, rel=0.35)
