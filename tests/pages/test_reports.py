"""Reports: what they say, and that they need nothing beside them."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from services.core.errors import InvalidWorkload
from services.core.records import Record
from services.pages.reports import Framing, Part, PlanFacts, replay_report
from services.pages.timeline_picture import MOST_MARKS
from tests.pages.cases import HOSTILE, placement, problem

VOID = {"meta", "link", "input", "br", "hr", "img"}
SERVED = Record(0.0, "m0", 2.5, "served", 2.2, 0.0, "g7", 2.0, (0.0, 1.0), (1.0, 2.0))
RECORDS = [
    SERVED,
    replace(SERVED, arrival_s=0.1, outcome="late", latency_s=3.0),
    replace(SERVED, arrival_s=0.2, model=HOSTILE, outcome="rejected", group="", stage_begin_s=(), stage_end_s=()),
]


class Nesting(HTMLParser):
    """Fails where elements are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report_of(records: list[Record] | None = None, **more: Any) -> str:
    return replay_report(problem(), placement(), Framing("A <b>plan</b>", "today", **more), records)


def test_a_report_is_well_formed_and_needs_nothing_beside_it() -> None:
    page = report_of(records=RECORDS)

    nesting = Nesting()
    nesting.feed(page)
    assert nesting.open == []
    assert re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", page) == []
    assert "@import" not in page


def test_names_are_text_and_never_markup() -> None:
    page = report_of(records=RECORDS, plan=PlanFacts(policy=HOSTILE, unplaced=((HOSTILE, HOSTILE),)))

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>plan" not in page


def test_measured_figures_stand_beside_predicted_ones() -> None:
    page = report_of(records=RECORDS)

    assert "attainment measured" in page
    assert "1 rejected, 1 late, 0 failed" in page
    assert "As measured" in page
    assert "attainment measured" not in report_of()


def test_records_of_nothing_measure_nothing() -> None:
    assert "<dt>attainment measured</dt><dd>–</dd>" in report_of(records=[])


def test_misses_that_are_not_marked_are_told() -> None:
    refused = [replace(RECORDS[-1], arrival_s=n / 1000) for n in range(MOST_MARKS + 100)]

    assert "(1,500 of 1,600 are marked, 100 left out)" in report_of(records=refused)


def test_what_no_group_holds_is_told() -> None:
    assert "<strong>On no group:</strong> idle" in report_of()


def test_a_part_of_the_time_is_labelled_as_one() -> None:
    assert "Shown: 1.00 to 2.00 s of" in report_of(part=Part(1.0, 1.0))
    assert "are shown." in report_of()


def test_a_record_of_an_unknown_model_is_refused() -> None:
    with pytest.raises(InvalidWorkload, match="record 0: unknown model 'other'"):
        report_of(records=[replace(SERVED, model="other")])
