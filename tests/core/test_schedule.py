"""The rule, interpreted on lists as router and worker do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.schedule import (
    DISPATCH_RULES,
    admits,
    commit,
    dispatch,
    earliest_finish,
    earliest_free,
    last_stage_end,
    shortest_queue,
)

seconds = st.floats(0, 1e6)
lanes = st.lists(st.tuples(seconds, seconds), min_size=1, max_size=8)


@given(seconds, lanes)
def test_clocks_never_go_back(now_s: float, stages: list[tuple[float, float]]) -> None:
    before, latency = [clock for clock, _ in stages], [cost for _, cost in stages]
    after = list(before)

    commit(now_s, after, latency, 0, len(after))

    assert all(new >= old for new, old in zip(after, before, strict=True))
    assert after == sorted(after)


@given(seconds, lanes)
def test_a_committed_request_ends_when_it_was_predicted_to(now_s: float, stages: list[tuple[float, float]]) -> None:
    clocks, latency = [clock for clock, _ in stages], [cost for _, cost in stages]

    predicted = last_stage_end(now_s, clocks, latency, 0, len(clocks))
    commit(now_s, clocks, latency, 0, len(clocks))

    assert clocks[-1] == predicted


def test_commit_leaves_the_stages_of_other_groups_alone() -> None:
    clocks = [1.0, 2.0, 3.0, 4.0]

    commit(5.0, clocks, [0.5, 0.5, 0.5, 0.5], 1, 3)

    assert clocks == [1.0, 5.5, 6.0, 4.0]


@pytest.mark.parametrize(("finish_s", "admitted"), [(3.0, True), (3.0000000000000004, False), (2.0, True)])
def test_a_finish_exactly_at_the_deadline_is_admitted(finish_s: float, admitted: bool) -> None:
    assert admits(finish_s, 1.0, 2.0) is admitted


def test_the_latency_is_compared_not_the_instant() -> None:
    arrival_s, slo_s = 0.1, 0.2
    finish_s = arrival_s + slo_s

    assert finish_s - arrival_s > slo_s
    assert not admits(finish_s, arrival_s, slo_s)


def test_no_slo_admits_everything() -> None:
    assert admits(1e300, 0.0, float("inf"))


@pytest.mark.parametrize("rule", range(len(DISPATCH_RULES)))
def test_nobody_is_chosen_without_hosts(rule: int) -> None:
    assert dispatch(rule, 0.0, [], [0, 1], [0.0], [0], [1.0]) == -1


@pytest.mark.parametrize("rule", range(len(DISPATCH_RULES)))
def test_ties_go_to_the_first_host(rule: int) -> None:
    assert dispatch(rule, 0.0, [1, 2], [0, 1, 2, 3], [0.0] * 3, [0] * 3, [1.0] * 3) == 1


def test_earliest_free_compares_raw_clocks_of_the_last_stage() -> None:
    first_stage, clocks = [0, 2, 4], [9.0, 2.0, 0.0, 3.0]

    assert earliest_free([0, 1], first_stage, clocks) == 0
    assert dispatch(0, 100.0, [0, 1], first_stage, clocks, [5, 0], [1.0] * 4) == 0


def test_shortest_queue_counts_requests_not_seconds() -> None:
    assert shortest_queue([0, 1, 2], [3, 1, 1]) == 1


def test_earliest_finish_weighs_cost_against_waiting() -> None:
    assert earliest_finish(0.0, [0, 1], [0, 1, 2], [0.0, 1.0], [5.0, 1.0]) == 1
