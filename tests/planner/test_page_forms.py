"""What people type into the page's forms: read, or refused at the field."""

import numpy as np
import pytest

from services.core.errors import AlpaServeError
from services.core.workload import workload_from_arrivals
from services.pages.heat_map import Axis, heat_map
from services.planner.web.timelines import MOST_REQUESTS, KeptWorkloads, read_drawing, read_zoom, sent_workload
from services.planner.web.what_if_form import MOST_CELLS, defaults, read_question


def test_a_form_as_it_comes_is_a_question() -> None:
    form, question = read_question(defaults(8), ["alpaserve"], 8)

    assert form.faults == {}
    assert (question.num_devices, question.rate_scales, question.num_cells) == ((4, 8, 16), (0.5, 1.0, 2.0), 9)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("devices", "four", "'four'"),
        ("devices", "2.5", "whole numbers"),
        ("devices", "4096", "up to 1024, got 4096"),
        ("devices", "-1", "positive"),
        ("rate", "1, 1", "repeats"),
        ("rate", "100", "goes up to ×64, got 100"),
        ("cv", "nan", "positive"),
        ("slo", "0", "positive"),
        ("seconds", "1e9", "from 0.1 to 120"),
        ("seconds", "soon", "'soon'"),
        ("simulations", "0", "from 1"),
        ("seed", "1.5", "whole number"),
        ("rate", ",".join(map(str, range(1, 18))), f"51 plans are too many at once; at most {MOST_CELLS}"),
    ],
)
def test_a_fault_is_told_at_its_field(name: str, text: str, fault: str) -> None:
    form, _ = read_question(defaults(8) | {name: text}, ["alpaserve"], 8)

    assert list(form.faults) == [name]
    assert fault in form.faults[name]


@pytest.mark.parametrize("policies", [[], ["best"]])
def test_policies_are_known_ones(policies: list[str]) -> None:
    form, _ = read_question(defaults(8), policies, 8)

    assert list(form.faults) == ["policy"]


def test_a_heat_map_goes_across_its_longest_axis() -> None:
    axes = [Axis("policy", "", ("a", "b")), Axis("devices", "devices ", (4, 8)), Axis("rate", "×", (0.5, 1.0, 2.0))]

    found = heat_map(axes, {("b", 8, 1.0): (0.95, None)})

    assert found.columns == ("×0.5", "×1", "×2")
    assert [label for label, _ in found.rows] == ["a · devices 4", "a · devices 8", "b · devices 4", "b · devices 8"]
    assert [cell.attainment for cell in found.rows[3][1]] == [None, 0.95, None]


@pytest.mark.parametrize(
    ("texts", "faulty"),
    [({"rate": "0"}, ["rate"]), ({"rate": "1000", "duration": "3600"}, ["rate"]), ({"cv": "x"}, ["cv"]), ({}, [])],
)
def test_a_workload_to_draw_is_held_within_limits(texts: dict[str, str], faulty: list[str]) -> None:
    form, _ = read_drawing(texts)

    assert list(form.faults) == faulty


def test_a_zoom_that_is_none_is_told() -> None:
    form, zoom = read_zoom({"begin": "-1", "length": "5"})

    assert list(form.faults) == ["begin"]
    assert (zoom.begin_s, zoom.length_s) == (None, 5.0)


@pytest.mark.parametrize(
    ("content", "fault"), [(b"", "header"), (b"\xff\xfe", "UTF-8"), (b"arrival_s,model\nx,m\n", "'x'")]
)
def test_a_file_that_is_no_workload_is_refused(content: bytes, fault: str) -> None:
    with pytest.raises(AlpaServeError, match=fault):
        sent_workload(content)


def test_a_large_workload_is_cut_and_says_so() -> None:
    kept = KeptWorkloads().keep(workload_from_arrivals({"m": np.arange(MOST_REQUESTS + 5.0)}), "all")

    assert (len(kept.workload), kept.num_cut) == (MOST_REQUESTS, 5)


def test_looks_at_live_arrivals_drive_out_no_workload_that_was_sent() -> None:
    kept = KeptWorkloads()
    workload = workload_from_arrivals({"m": np.arange(2.0)})
    sent = kept.keep(workload, "sent")
    live = [kept.keep(workload, "live", is_live=True).number for _ in range(20)]

    assert kept.get(sent.number) is sent
    assert (kept.get(live[0]), kept.get(live[-1]) is not None) == (None, True)


def test_only_the_last_workloads_are_kept() -> None:
    kept = KeptWorkloads()
    numbers = [kept.keep(workload_from_arrivals({"m": np.arange(2.0)}), "").number for _ in range(20)]

    assert kept.get(numbers[0]) is None
    assert kept.get(numbers[-1]) is not None
