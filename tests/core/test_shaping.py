"""Ramps, mappings and SLO mixes of load tests."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.core.arrivals import gamma_workload
from services.core.errors import InvalidWorkload
from services.core.shaping import Ramp, SloMix, dealt_to, with_ramp, with_slo_mix
from services.core.workload import Workload

times = st.lists(st.floats(0, 1e4), min_size=1, max_size=40).map(sorted)
multipliers = st.floats(0.0, 50.0)


@st.composite
def ramps(draw: st.DrawFn) -> Ramp:
    gaps = draw(st.lists(st.floats(0.1, 500.0), min_size=1, max_size=6))
    heights = draw(st.lists(multipliers, min_size=len(gaps), max_size=len(gaps)))
    begin_s = draw(st.sampled_from([0.0, 3.0]))
    at_s = begin_s + np.cumsum([0.0, *gaps[:-1]])
    return Ramp(tuple(at_s.tolist()), (*heights[:-1], heights[-1] + 0.1))


def requests(arrival_s: list[float]) -> Workload:
    count = len(arrival_s)
    return Workload(np.array(arrival_s), np.zeros(count, np.int32), np.full(count, np.nan), ("m",))


def volume(ramp: Ramp, until_s: float) -> float:
    """The integral of the multiplier, by its definition."""
    knots = np.array(sorted({0.0, until_s, *(at for at in ramp.at_s if at < until_s)}))
    return float(np.trapezoid(np.interp(knots, ramp.at_s, ramp.multiplier), knots))


@given(times, ramps())
@example([0.0, 3e-210], Ramp((0.0, 1.0, 2.0), (2e-309, 1e-155, 0.1)))
def test_a_ramp_keeps_the_requests_and_moves_each_to_where_its_volume_is(arrivals: list[float], ramp: Ramp) -> None:
    moved = with_ramp(requests(arrivals), ramp)

    assert len(moved) == len(arrivals)
    assert (np.diff(moved.arrival_s) >= 0).all()
    for before_s, after_s in zip(arrivals, moved.arrival_s, strict=True):
        assert volume(ramp, after_s - arrivals[0]) == pytest.approx(before_s - arrivals[0], rel=1e-6, abs=1e-6)


@given(times, st.floats(0.1, 10.0))
def test_a_level_ramp_is_a_scale_of_time(arrivals: list[float], level: float) -> None:
    moved = with_ramp(requests(arrivals), Ramp((0.0,), (level,)))

    since_s = np.array(arrivals) - arrivals[0]
    assert moved.arrival_s == pytest.approx(arrivals[0] + since_s / level, rel=1e-9, abs=1e-9)


def test_a_ramp_from_half_to_double_has_the_rates_it_says() -> None:
    moved = with_ramp(requests([0.01 * n for n in range(20_000)]), Ramp((0.0, 60.0), (0.5, 2.0)))

    counts = np.histogram(moved.arrival_s, bins=[0, 1, 29.5, 30.5, 59.5, 60.5, 80, 81])[0][::2]
    assert counts == pytest.approx([51, 125, 200, 200], abs=2)


@pytest.mark.parametrize(
    ("at_s", "multiplier", "said"),
    [
        ((), (), "a multiplier per time"),
        ((0.0, 0.0), (1.0, 2.0), "must rise"),
        ((-1.0,), (1.0,), "must not be negative"),
        ((0.0, 5.0), (1.0, 0.0), "nor end at 0"),
        ((0.0,), (float("nan"),), "must not be negative"),
    ],
)
def test_what_is_no_ramp_is_refused(at_s: tuple[float, ...], multiplier: tuple[float, ...], said: str) -> None:
    with pytest.raises(InvalidWorkload, match=said):
        Ramp(at_s, multiplier)


def test_functions_of_a_trace_are_dealt_to_models_in_turn() -> None:
    trace = gamma_workload(dict.fromkeys("abcde", 5.0), 1.0, 20.0, seed=3)

    dealt = dealt_to(trace, ("x", "y"))

    assert dealt.names == ("x", "y")
    assert dealt.num_requests_of.tolist() == [
        trace.num_requests_of[[0, 2, 4]].sum(),
        trace.num_requests_of[[1, 3]].sum(),
    ]
    assert dealt.arrival_s.tolist() == trace.arrival_s.tolist()


def test_models_that_are_known_keep_their_names() -> None:
    trace = gamma_workload({"b": 5.0, "a": 2.0}, 1.0, 20.0, seed=3)

    dealt = dealt_to(trace, ("a", "b", "c"))

    assert dealt.num_requests_of.tolist() == [*trace.num_requests_of[::-1].tolist(), 0]


@given(st.integers(0, 2**32), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5))
def test_a_mix_has_its_shares_and_leaves_the_rest(seed: int, weights: list[float]) -> None:
    share = tuple(0.9 * weight / sum(weights) for weight in weights)
    slo_s = tuple(float(n + 1) for n in range(len(share)))
    trace = gamma_workload({"a": 200.0, "b": 20.0}, 1.0, 20.0, seed=1)

    mixed = with_slo_mix(trace, {"a": SloMix(share, slo_s)}, seed)

    own = mixed.slo_s[mixed.model == 0]
    found = [float((own == one).mean()) for one in slo_s]
    assert found == pytest.approx(share, abs=0.06)
    assert np.isnan(own).mean() == pytest.approx(0.1, abs=0.06)
    assert np.isnan(mixed.slo_s[mixed.model == 1]).all()
    assert mixed.slo_s.tolist() == pytest.approx(
        with_slo_mix(trace, {"a": SloMix(share, slo_s)}, seed).slo_s.tolist(), nan_ok=True
    )


def test_shares_of_one_leave_nothing() -> None:
    trace = gamma_workload({"a": 200.0}, 1.0, 20.0, seed=1)

    mixed = with_slo_mix(trace, {"a": SloMix((0.1, 0.2, 0.7), (1.0, 2.0, 3.0))}, seed=0)

    assert not np.isnan(mixed.slo_s).any()


@pytest.mark.parametrize(
    ("share", "slo_s", "said"),
    [
        ((), (), "an SLO per share"),
        ((0.6, 0.6), (1.0, 1.0), "more than 1"),
        ((-0.1,), (1.0,), "negative"),
        ((0.5,), (0.0,), "SLOs must be positive"),
    ],
)
def test_what_is_no_mix_is_refused(share: tuple[float, ...], slo_s: tuple[float, ...], said: str) -> None:
    with pytest.raises(InvalidWorkload, match=said):
        SloMix(share, slo_s)


def test_a_mix_of_a_model_without_requests_is_refused() -> None:
    with pytest.raises(InvalidWorkload, match="'c'"):
        with_slo_mix(requests([0.0]), {"c": SloMix((1.0,), (1.0,))}, seed=0)
