"""Records of a replay, read back."""

import math

import pytest

from services.core.errors import InvalidWorkload
from services.core.records import parse_records

HEADER = "arrival_s,model,slo_s,outcome,status,latency_s,send_delay_s,group,stage_begin_s,stage_end_s"


def test_a_row_is_a_request() -> None:
    [record] = parse_records([HEADER, "1.5,m0,0.5,served,OK,0.4,0.1,g1,0;0.1,0.1;0.2"])

    assert (record.arrival_s, record.model, record.outcome, record.group) == (1.5, "m0", "served", "g1")
    assert (record.stage_begin_s, record.stage_end_s) == ((0, 0.1), (0.1, 0.2))
    assert record.finish_s == pytest.approx(1.9)
    assert record.reached_leader_s == pytest.approx(1.5 + 0.1 + 0.05)


def test_what_is_not_known_is_empty() -> None:
    [record] = parse_records([HEADER, "0,m0,,rejected,RESOURCE_EXHAUSTED,0.01,,,,"])

    assert math.isnan(record.slo_s)
    assert math.isnan(record.execution_time_s)
    assert (record.group, record.stage_end_s) == ("", ())


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("x,m0,,served,OK,0.1,0,g0,,", "line 2: arrival_s 'x'"),
        (",m0,,served,OK,0.1,0,g0,,", "line 2: arrival_s ''"),
        ("0,,,served,OK,0.1,0,g0,,", "line 2: no model"),
        ("0,m0,,gone,OK,0.1,0,g0,,", "line 2: outcome 'gone'"),
        ("0,m0,,served,OK,0.1,0,g0,0;1,1", "line 2: 2 stages begin and 1 end"),
        ("0,m0,,served,OK,0.1,0,g0,0;a,1;2", "line 2: stage_begin_s 'a'"),
    ],
)
def test_a_broken_row_is_named(row: str, fault: str) -> None:
    with pytest.raises(InvalidWorkload, match=fault):
        parse_records([HEADER, row])


def test_missing_columns_are_named() -> None:
    with pytest.raises(InvalidWorkload, match="model, outcome, latency_s, group missing"):
        parse_records(["arrival_s", "1"])
