"""The test for drift: silent while traffic stays what it is, however bursty, and not when it changes."""

import numpy as np
import pytest

from services.core.arrivals import gamma_workload
from services.planner.controllers.closed_loop import counted
from services.planner.controllers.drift import Assumed, drift
from services.planner.controllers.observation import Observation

RATES = {f"m{i}": rate for i, rate in enumerate((4.0, 2.0, 1.0, 0.5, 0.3, 0.2, 0.1, 0.05))}
SPAN_S = 1_200


def seen(rates: dict[str, float], cv: float, seed: int) -> Observation:
    counts = counted(gamma_workload(rates, cv, SPAN_S, seed), 1.0, SPAN_S).counts
    return Observation.of(tuple(rates), SPAN_S, dict(zip(rates, counts, strict=True)))


@pytest.mark.parametrize("cv", [0.5, 1.0, 4.0])
def test_chance_is_no_drift(cv: float) -> None:
    pairs = [(seen(RATES, cv, 1_000 * i), seen(RATES, cv, 1_000 * i + 500)) for i in range(20)]

    assert min(drift(Assumed.of(before), after).p_value for before, after in pairs) > 1e-3


def test_a_rate_that_is_known_exactly_drifts_no_more_by_chance() -> None:
    known = Assumed(np.array(list(RATES.values())), np.full(len(RATES), 2.0), float("inf"))

    assert min(drift(known, seen(RATES, 2.0, 1_000 * i)).p_value for i in range(20)) > 1e-3


def test_a_model_that_becomes_popular_is_found_and_named() -> None:
    found = drift(Assumed.of(seen(RATES, 1.0, 0)), seen(RATES | {"m5": 1.0}, 1.0, 1))

    assert found.p_value < 1e-6
    assert found.model == "m5"
    assert "m5" in found.text


def test_all_rates_that_move_a_little_are_found() -> None:
    grown = {name: 1.35 * rate for name, rate in RATES.items()}

    assert drift(Assumed.of(seen(RATES, 1.0, 0)), seen(grown, 1.0, 1)).p_value < 1e-3


def test_burstier_traffic_at_the_same_rates_is_found() -> None:
    assert drift(Assumed.of(seen(RATES, 1.0, 0)), seen(RATES, 4.0, 1)).p_value < 1e-3


def test_the_same_change_says_less_of_bursty_traffic() -> None:
    calm, bursty = (drift(Assumed.of(seen(RATES, cv, 0)), seen(RATES | {"m2": 1.6}, cv, 1)) for cv in (1.0, 4.0))

    assert calm.p_value < 1e-6 < bursty.p_value
