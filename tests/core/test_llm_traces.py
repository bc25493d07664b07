"""Public traces of LLM serving in their official forms."""

import numpy as np
import pytest

from services.core.arrivals import fit_gamma
from services.core.errors import InvalidWorkload
from services.core.llm_traces import ClientWindow, read_azure_llm, read_servegen_client, servegen_workload

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 23:59:59.7500001,374,44
2023-11-17 00:00:01.2500000,396,109
2023-11-17 00:00:00.5000000,879,55
2023-11-17 00:00:09.7500001,91,16
"""
CLIENT = """0,0.0,0.0,,0.0,0.0
600,5.0,2.0,Gamma,0.25,0.8
1200,0.5,4.6,Weibull,0.4,0.3
1800,0.0,0.0,,0.0,0.0
"""


def test_requests_are_counted_from_the_first_to_the_tenth_of_a_microsecond() -> None:
    workload = read_azure_llm(AZURE.splitlines(), ["m0"])

    assert workload.arrival_s == pytest.approx([0.0, 0.7499999, 1.4999999, 10.0], abs=1e-12)


def test_the_trace_of_2024_carries_its_time_zone() -> None:
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2024-05-10 00:00:00.009930+00:00,1,2"]

    assert read_azure_llm([*lines, "2024-05-10 00:00:02+00:00,1,2"], ["m0"]).arrival_s == pytest.approx([0.0, 1.99007])


def test_requests_are_dealt_in_turn() -> None:
    assert read_azure_llm(AZURE.splitlines(), ["m0", "m1", "m2"]).model.tolist() == [0, 1, 2, 0]


def test_a_slice_is_dealt_anew_and_counts_from_its_begin() -> None:
    workload = read_azure_llm(AZURE.splitlines(), ["m0", "m1"], begin_s=0.5, end_s=10.0)

    assert workload.arrival_s == pytest.approx([0.2499999, 0.9999999])
    assert workload.model.tolist() == [0, 1]


def test_requests_are_dealt_in_given_shares() -> None:
    lines = [*AZURE.splitlines()[:1], *(f"2023-11-16 18:{i // 60 % 60:02}:{i % 60:02},1,1" for i in range(3600))]

    workload = read_azure_llm(lines, ["m0", "m1", "m2"], shares=[3.0, 1.0, 0.0], seed=1)

    assert workload.num_requests_of == pytest.approx([2700, 900, 0], rel=0.1)
    assert workload.model.tolist() == read_azure_llm(lines, ["m0", "m1", "m2"], [3.0, 1.0, 0.0], 1).model.tolist()


@pytest.mark.parametrize("shares", [[1.0], [0.0, 0.0], [1.0, -1.0], [float("nan"), 1.0]])
def test_shares_that_deal_nothing_are_refused(shares: list[float]) -> None:
    with pytest.raises(InvalidWorkload, match="shares of 2 models"):
        read_azure_llm(AZURE.splitlines(), ["m0", "m1"], shares)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "line 1"),
        ("timestamp,a,b\n", "line 1"),
        (AZURE + "soon,1,2\n", "line 6: not a request: 'soon,1,2'"),
        (AZURE + "2023-11-16 18:15:46.68\n", "line 6"),
        (AZURE + "2023-13-16 18:15:46.68,1,2\n", "line 6: not a time"),
    ],
)
def test_a_broken_azure_trace_is_refused_by_line(text: str, named: str) -> None:
    with pytest.raises(InvalidWorkload, match=named):
        read_azure_llm(text.splitlines(), ["m0"])


def test_a_client_s_windows_end_where_the_next_begin_and_idle_ones_are_dropped() -> None:
    assert read_servegen_client(CLIENT.splitlines()) == (
        ClientWindow(600.0, 1200.0, 5.0, "Gamma", 0.25),
        ClientWindow(1200.0, 1800.0, 0.5, "Weibull", 0.4),
    )


def test_the_last_window_is_as_long_as_the_one_before_and_a_single_one_ten_minutes() -> None:
    last = read_servegen_client(["0,1,1,Gamma,1,1", "300,1,1,Gamma,1,1"])[-1]

    assert (last.begin_s, last.end_s) == (300.0, 600.0)
    assert read_servegen_client(["0,1,1,Gamma,1,1"])[0].end_s == 600.0
    assert read_servegen_client([]) == ()


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("0,1,1,Gamma,1", "line 2: not a ServeGen window: '0,1,1,Gamma,1'"),
        ("now,1,1,Gamma,1,1", "line 2"),
        ("600,1,1,Pareto,1,1", "'Pareto'"),
        ("600,-1,1,Gamma,1,1", "out of range"),
        ("600,1,nan,Gamma,1,1", "out of range"),
        ("600,1,1,Weibull,0.001,1", "out of range"),
        ("0,1,1,Gamma,1,1", "window 2 begins at 0 s"),
    ],
)
def test_a_broken_client_is_refused(row: str, named: str) -> None:
    with pytest.raises(InvalidWorkload, match=named):
        read_servegen_client(["0,1,1,Gamma,1,1", row])


@pytest.mark.parametrize(("distribution", "shape", "cv"), [("Gamma", 0.25, 2.0), ("Weibull", 0.5, 5**0.5)])
def test_drawn_arrivals_have_the_rate_and_the_shape_of_their_window(distribution: str, shape: float, cv: float) -> None:
    window = ClientWindow(600.0, 10_600.0, 4.0, distribution, shape)

    workload = servegen_workload([[window]], ["m0"], seed=0)

    assert len(workload) == pytest.approx(40_000, rel=0.05)
    assert fit_gamma(workload.arrival_s)[1] == pytest.approx(cv, rel=0.1)
    assert workload.arrival_s[0] >= 600
    assert workload.arrival_s[-1] < 10_600


@pytest.mark.parametrize(("distribution", "shape"), [("Gamma", 0.04), ("Weibull", 0.3)])
def test_short_windows_of_bursty_gaps_keep_their_rate(distribution: str, shape: float) -> None:
    windows = [ClientWindow(float(i), float(i + 1), 2.0, distribution, shape) for i in range(5000)]

    assert len(servegen_workload([windows], ["m0"], seed=1)) == pytest.approx(10_000, rel=0.15)


def test_clients_that_ask_in_the_slice_are_dealt_to_the_models_in_turn() -> None:
    early, late = ClientWindow(0.0, 100.0, 9.0, "Gamma", 1.0), ClientWindow(100.0, 200.0, 3.0, "Gamma", 1.0)
    clients = [[early], [early, late], [], [late], [late]]

    workload = servegen_workload(clients, ["m0", "m1"], seed=0, begin_s=100.0, end_s=200.0, rate_scale=10.0)

    assert workload.num_requests_of == pytest.approx([6000, 3000], rel=0.1)
    assert np.ptp(workload.arrival_s) == pytest.approx(100.0, abs=1.0)


@pytest.mark.parametrize("rate_scale", [-1.0, float("nan")])
def test_a_rate_scale_that_means_nothing_is_refused(rate_scale: float) -> None:
    with pytest.raises(InvalidWorkload, match="rate scale"):
        servegen_workload([], ["m0"], 0, rate_scale=rate_scale)
