"""Workloads: their CSV text, what is refused, and what can be done with them."""

import math
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import InvalidWorkload
from services.core.workload import Workload, format_workload, parse_workload, workload_from_arrivals

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=5)
requests = st.tuples(st.floats(0, 1e9), names, st.none() | st.floats(1e-6, 1e6))


def parsed(text: str) -> Workload:
    return parse_workload(text.splitlines(keepends=True))


def slo_of(workload: Workload) -> list[float | None]:
    return [None if math.isnan(slo) else slo for slo in workload.slo_s.tolist()]


@given(st.lists(requests))
def test_text_round_trips(rows: list[tuple[float, str, float | None]]) -> None:
    rows.sort(key=lambda row: row[0])
    known = tuple(dict.fromkeys(row[1] for row in rows))
    slo_s = np.array([math.nan if row[2] is None else row[2] for row in rows], dtype=np.float64)
    model = np.array([known.index(row[1]) for row in rows], dtype=np.int32)
    workload = Workload(np.array([row[0] for row in rows], dtype=np.float64), model, slo_s, known)

    again = parsed(format_workload(workload))

    assert again.arrival_s.tolist() == workload.arrival_s.tolist()
    assert again.names == workload.names
    assert again.model.tolist() == workload.model.tolist()
    assert slo_of(again) == slo_of(workload)


def test_columns_are_found_by_name_and_an_empty_slo_is_none() -> None:
    workload = parsed("model,slo_s,arrival_s\nb,,0.5\r\na, 2 ,0.5\n\nb,1e-1,3\n")

    assert workload.names == ("b", "a")
    assert workload.model.tolist() == [0, 1, 0]
    assert workload.arrival_s.tolist() == [0.5, 0.5, 3.0]
    assert slo_of(workload) == [None, 2.0, 0.1]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "arrival_s,model"),
        ("0.5,m0\n", "'0.5,m0'"),
        ("arrival_s,model,priority\n", "priority"),
        ("arrival_s,model,model\n", "model,model"),
        ("arrival_s,model\n1,m0\n0.5,m0\n", "line 3: arrival_s 0.5"),
        ("arrival_s,model\n-1,m0\n", "line 2: arrival_s -1.0"),
        ("arrival_s,model\n1,m0\nnan,m0\n", "line 3: arrival_s 'nan'"),
        ("arrival_s,model\n\n\ninf,m0\n", "line 4: arrival_s 'inf'"),
        ("arrival_s,model\nsoon,m0\n", "line 2: arrival_s 'soon'"),
        ("arrival_s,model\n,m0\n", "line 2: arrival_s ''"),
        ("arrival_s,model\n1\n", "line 2: 1 values"),
        ("arrival_s,model\n1,m0,3\n", "line 2: 3 values"),
        ("arrival_s,model\n1,\n", "line 2: no model"),
        ("arrival_s,model,slo_s\n1,m0,\n2,m0,-3\n", "line 3: slo_s -3.0"),
        ("arrival_s,model,slo_s\n1,m0,0\n", "line 2: slo_s 0.0"),
        ("arrival_s,model,slo_s\n1,m0,nan\n", "line 2: slo_s 'nan'"),
        ('arrival_s,model\n1,"m0\n', "line 2"),
    ],
)
def test_text_that_is_not_well_formed_is_refused_by_line_and_value(text: str, named: str) -> None:
    with pytest.raises(InvalidWorkload) as refusal:
        parsed(text)

    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("arrival_s", "model", "slo_s", "named"),
    [
        ([0.0, math.nan], [0, 0], [math.nan] * 2, "request 1: arrival_s nan"),
        ([1.0, 0.5], [0, 0], [math.nan] * 2, "request 1: arrival_s 0.5"),
        ([0.0, 1.0], [0, 2], [math.nan] * 2, "request 1: unknown model 2"),
        ([0.0, 1.0], [0, 0], [math.nan, math.inf], "request 1: slo_s inf"),
        ([0.0, 1.0], [0], [math.nan] * 2, "2 arrivals, 1 models"),
    ],
)
def test_arrays_that_break_a_promise_are_refused(
    arrival_s: list[float], model: list[int], slo_s: list[float], named: str
) -> None:
    with pytest.raises(InvalidWorkload) as refusal:
        Workload(np.array(arrival_s), np.array(model, dtype=np.int32), np.array(slo_s), ("a", "b"))

    assert named in str(refusal.value)


@pytest.fixture
def workload() -> Workload:
    return workload_from_arrivals({"a": np.array([0.0, 2.0, 4.0]), "b": np.array([2.0, 3.0])})


def test_merging_sorts_by_time_and_keeps_the_order_of_models(workload: Workload) -> None:
    assert workload.arrival_s.tolist() == [0.0, 2.0, 2.0, 3.0, 4.0]
    assert workload.model.tolist() == [0, 0, 1, 1, 0]
    assert workload.num_requests_of.tolist() == [3, 2]


def test_aligning_keeps_requests_and_changes_indices(workload: Workload) -> None:
    aligned = workload.aligned(["z", "b", "a"])

    assert aligned.model.tolist() == [2, 2, 1, 1, 2]
    assert aligned.names == ("z", "b", "a")


def test_aligning_refuses_a_model_that_is_asked_for_and_missing(workload: Workload) -> None:
    with pytest.raises(InvalidWorkload, match="request 2: unknown model 'b'"):
        workload.aligned(["a"])


def test_aligning_forgets_missing_models_that_nobody_asks_for(workload: Workload) -> None:
    assert workload.restricted(["a"]).aligned(["a"]).arrival_s.tolist() == [0.0, 2.0, 4.0]


def test_a_slice_counts_from_its_begin(workload: Workload) -> None:
    assert workload.between(2.0, 4.0).arrival_s.tolist() == [0.0, 0.0, 1.0]


def test_a_time_scale_stretches(workload: Workload) -> None:
    assert workload.with_time_scale(0.5).arrival_s.tolist() == [0.0, 1.0, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_a_rate_scale_multiplies_requests_within_the_same_span(factor: float) -> None:
    source = workload_from_arrivals({"a": np.linspace(0, 100, 4000), "b": np.linspace(0, 100, 2000)})

    scaled = source.with_rate_scale(factor, seed=1)

    assert scaled.num_requests_of == pytest.approx(factor * source.num_requests_of, rel=0.05)
    assert scaled.arrival_s[-1] <= 100
    assert scaled.arrival_s.tolist() == source.with_rate_scale(factor, seed=1).arrival_s.tolist()


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_scales_that_mean_nothing_are_refused(workload: Workload, factor: float) -> None:
    with pytest.raises(InvalidWorkload):
        workload.with_time_scale(factor)


def test_a_row_that_comes_too_early_is_refused_wherever_the_reader_is() -> None:
    rows = [f"{i},m{i % 3}\n" for i in range(40_000)]
    rows[32_768 - 5 : 32_768 - 5] = ["\n"] * 7

    assert len(parsed("arrival_s,model\n" + "".join(rows))) == 40_000
    for place in (16_384, 16_385, 32_768, 39_000):
        late = [*rows[:place], "0.25,m0\n", *rows[place:]]
        with pytest.raises(InvalidWorkload, match=f"line {place + 2}: arrival_s 0.25 comes before"):
            parsed("arrival_s,model\n" + "".join(late))


def csv_lines(num_requests: int) -> Iterator[str]:
    yield "arrival_s,model,slo_s\n"
    for i in range(num_requests):
        yield f"{i * 0.12345678901},a-model-with-a-long-name-{i % 100},{0.5 if i % 2 else ''}\n"


def test_a_large_file_is_read_in_a_few_times_the_memory_of_its_arrays() -> None:
    num_requests = 50_000
    lines = csv_lines(num_requests)
    tracemalloc.start()
    workload = parse_workload(lines)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(workload) == num_requests
    own_bytes = workload.arrival_s.nbytes + workload.model.nbytes + workload.slo_s.nbytes
    # The part being read is some 10 MB of text and cells, however long the file.
    assert peak_bytes < 3 * own_bytes + 10e6


def test_arrivals_of_each_model() -> None:
    workload = workload_from_arrivals({"a": np.array([0.0, 2.0]), "idle": np.empty(0), "b": np.array([1.0])})

    assert [own.tolist() for own in workload.arrivals_of_each] == [[0.0, 2.0], [], [1.0]]
    assert workload_from_arrivals({}).arrivals_of_each == []
