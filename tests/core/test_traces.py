"""The public traces in their official forms."""

import pytest

from services.core.errors import InvalidWorkload
from services.core.traces import read_maf1, read_maf2

MAF2 = """app,func,end_timestamp,duration
x,f,1.5,1.0
x,g,2.0,2.0
y,f,3.0,0.25
x,h,9.0,0.5
x,f,4.0,5.0
"""
MAF1 = """HashOwner,HashApp,HashFunction,Trigger,1,2,3
o,a,f,http,1,0,2
o,a,g,http,0,0,0
o,a,h,timer,0,5,0
o,a,i,timer,1,1,1
"""


def test_an_invocation_starts_at_its_end_minus_its_duration() -> None:
    workload = read_maf2(MAF2.splitlines(), ["m0", "m1"])

    assert workload.arrival_s.tolist() == [0.0, 0.5, 2.75, 8.5]


def test_functions_are_dealt_to_models_in_order_of_appearance() -> None:
    workload = read_maf2(MAF2.splitlines(), ["m0", "m1"])

    assert workload.model.tolist() == [1, 0, 0, 1]


def test_a_window_counts_from_its_begin_and_drops_functions_without_arrivals_in_it() -> None:
    workload = read_maf2(MAF2.splitlines(), ["m0", "m1"], begin_s=2.0, end_s=9.0)

    assert workload.arrival_s.tolist() == [0.75, 6.5]
    assert workload.model.tolist() == [0, 1]


def test_counts_of_functions_add_up_per_model_and_idle_functions_are_dropped() -> None:
    counts = read_maf1(MAF1.splitlines(), ["m0", "m1"], 0, 3)

    assert {name: row.tolist() for name, row in counts.items()} == {"m0": [2, 1, 3], "m1": [0, 5, 0]}


def test_a_window_of_minutes() -> None:
    counts = read_maf1(MAF1.splitlines(), ["m0", "m1"], 1, 1)

    assert {name: row.tolist() for name, row in counts.items()} == {"m0": [5], "m1": [1]}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "line 1"),
        ("app,func,end,duration\n", "line 1"),
        (MAF2 + "x,f,soon,1\n", "line 7"),
        (MAF2 + "x,f,1\n", "line 7"),
        (MAF2 + "x,f,nan,1\n", "line 7"),
    ],
)
def test_a_broken_maf2_trace_is_refused_by_line(text: str, named: str) -> None:
    with pytest.raises(InvalidWorkload, match=named):
        read_maf2(text.splitlines(), ["m0"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "line 1"),
        (MAF1.replace(",2,3", ",3,2"), "line 1"),
        (MAF1 + "o,a,j,http,1,2\n", "line 6"),
        (MAF1 + "o,a,j,http,1,2,many\n", "line 6"),
        (MAF1 + "o,a,j,http,1,2,-1\n", "line 6"),
    ],
)
def test_a_broken_maf1_trace_is_refused_by_line(text: str, named: str) -> None:
    with pytest.raises(InvalidWorkload, match=named):
        read_maf1(text.splitlines(), ["m0"], 0, 3)


def test_minutes_that_the_trace_lacks_are_refused() -> None:
    with pytest.raises(InvalidWorkload, match="no minutes 2 to 4"):
        read_maf1(MAF1.splitlines(), ["m0"], 2, 2)
