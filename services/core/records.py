"""What became of every request of a replay, as `alpaserve replay --records` writes it: a row a request, as CSV."""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.core.errors import InvalidWorkload

SERVED, LATE, REJECTED, FAILED = "served", "late", "rejected", "failed"
OUTCOMES = (SERVED, LATE, REJECTED, FAILED)
COLUMNS = (
    "arrival_s",
    "model",
    "slo_s",
    "outcome",
    "status",
    "latency_s",
    "send_delay_s",
    "group",
    "placement_version",
    "queue_time_s",
    "execution_time_s",
    "predicted_finish_s",
    "stage_begin_s",
    "stage_end_s",
)
_NUMBERS = ("arrival_s", "slo_s", "latency_s", "send_delay_s", "execution_time_s")
_REQUIRED = ("arrival_s", "model", "outcome", "latency_s", "group")


@dataclass(frozen=True, slots=True)
class Record:
    """One request. What is not known is NaN, or empty; `stage_begin_s` and `stage_end_s` count from the arrival at the
    group's leader, `latency_s` from the scheduled arrival to the answer's receipt."""

    arrival_s: float
    model: str
    slo_s: float
    outcome: str
    latency_s: float
    send_delay_s: float
    group: str
    execution_time_s: float
    stage_begin_s: tuple[float, ...] = ()
    stage_end_s: tuple[float, ...] = ()

    @property
    def finish_s(self) -> float:
        return self.arrival_s + self.latency_s

    @property
    def reached_leader_s(self) -> float:
        """About when the request was at its leader: what is neither sending late nor stages is the way there and the
        way back, half each."""
        delay_s = 0.0 if math.isnan(self.send_delay_s) else self.send_delay_s
        way_s = self.latency_s - delay_s - max(self.stage_end_s, default=0.0)
        return self.arrival_s + delay_s + max(way_s, 0.0) / 2


def parse_records(lines: Iterable[str]) -> list[Record]:
    """Read records, in the order of the file; columns beyond those of COLUMNS are left alone.

    Raises: InvalidWorkload, naming the line and the value.
    """
    reader = csv.DictReader(lines)
    missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise InvalidWorkload(f"records need the columns {', '.join(_REQUIRED)}; {', '.join(missing)} missing")
    try:
        return [_record(row, reader.line_num) for row in reader]
    except csv.Error as error:
        raise InvalidWorkload(f"line {reader.line_num}: {error}") from None


def _record(row: Mapping[str, str | None], line: int) -> Record:
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    numbers = {name: _number(cells[name], name, line) for name in _NUMBERS}
    begin_s, end_s = (_numbers(cells[name], name, line) for name in ("stage_begin_s", "stage_end_s"))
    if not math.isfinite(numbers["arrival_s"]):
        raise InvalidWorkload(f"line {line}: arrival_s {cells['arrival_s']!r} is not a time since the start")
    if not cells["model"]:
        raise InvalidWorkload(f"line {line}: no model")
    if cells["outcome"] not in OUTCOMES:
        raise InvalidWorkload(f"line {line}: outcome {cells['outcome']!r} is none of {', '.join(OUTCOMES)}")
    if len(begin_s) != len(end_s):
        raise InvalidWorkload(f"line {line}: {len(begin_s)} stages begin and {len(end_s)} end")
    return Record(
        model=cells["model"],
        outcome=cells["outcome"],
        group=cells["group"],
        stage_begin_s=begin_s,
        stage_end_s=end_s,
        **numbers,
    )


def _numbers(text: str, column: str, line: int) -> tuple[float, ...]:
    return tuple(_number(part, column, line) for part in text.split(";")) if text else ()


def _number(text: str, column: str, line: int) -> float:
    """NaN of an empty cell."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise InvalidWorkload(f"line {line}: {column} {text!r} is not a number") from None
