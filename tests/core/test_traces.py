"""The public traces in their official forms."""

import tracemalloc
from collections.abc import Iterator

import pytest

from services.core.errors import InvalidWorkload
from services.core.traces import read_maf1, read_maf1_days, read_maf2

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


NEXT_DAY = """HashOwner,HashApp,HashFunction,Trigger,1,2,3
o,a,i,timer,0,7,0
o,a,g,http,9,0,0
o,a,f,http,4,0,0
"""


def test_days_follow_each_other_and_a_function_is_the_same_on_every_day() -> None:
    days = [MAF1.splitlines(), NEXT_DAY.splitlines()]

    counts = read_maf1_days(days, ["m0", "m1", "m2", "m3"], 0, 6)

    assert {name: row.tolist() for name, row in counts.items()} == {
        "m0": [1, 0, 2, 4, 0, 0],
        "m1": [0, 5, 0, 0, 0, 0],
        "m2": [1, 1, 1, 0, 7, 0],
        "m3": [0, 0, 0, 9, 0, 0],
    }


def test_minutes_may_straddle_midnight_and_days_beyond_them_stay_unread() -> None:
    days = [MAF1.splitlines(), NEXT_DAY.splitlines(), ["not a trace"]]

    counts = read_maf1_days(days, ["m0"], 2, 2)

    assert counts["m0"].tolist() == [3, 13]


def test_a_fault_names_its_day_and_line() -> None:
    with pytest.raises(InvalidWorkload, match="day 2, line 3"):
        read_maf1_days([MAF1.splitlines(), [*NEXT_DAY.splitlines()[:2], "o,a,j,http,x,0,0"]], ["m0"], 0, 6)


def maf1_lines(num_functions: int) -> Iterator[str]:
    """A tenth of the functions are invoked."""
    yield "HashOwner,HashApp,HashFunction,Trigger," + ",".join(str(i + 1) for i in range(400))
    for function in range(num_functions):
        yield f"owner,app,{function},http," + ",".join(["0" if function % 10 else "3"] * 400)


def maf2_lines(num_invocations: int) -> Iterator[str]:
    yield "app,func,end_timestamp,duration"
    for i in range(num_invocations):
        yield f"{i % 7:064d},{i % 50:064d},{i / 10},0.5"


def peak_bytes(lines: Iterator[str], end_s: float | None) -> int:
    tracemalloc.start()
    try:
        if end_s is None:
            read_maf1(lines, ["m0", "m1"], 0, 400)
        else:
            read_maf2(lines, ["m0", "m1"], 0.0, end_s)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_maf1_trace_is_read_in_little_memory() -> None:
    num_bytes = sum(map(len, maf1_lines(1000)))

    assert peak_bytes(maf1_lines(1000), None) < 0.2 * num_bytes


def test_a_large_maf2_trace_takes_the_memory_of_what_is_kept() -> None:
    num_bytes = sum(map(len, maf2_lines(20_000)))

    assert peak_bytes(maf2_lines(20_000), 1e9) < 0.5 * num_bytes
    assert peak_bytes(maf2_lines(20_000), 10.0) < 0.03 * num_bytes
