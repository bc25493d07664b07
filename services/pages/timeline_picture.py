"""A schedule as a picture: a row per stage, bars of the models' colours, what missed marked under its group."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.pages.figures import seconds, shortened, tick_text, ticks
from services.pages.palette import Paint, paints
from services.pages.schedules import Lane, Schedule

WIDTH, LEFT = 1120.0, 128.0
_ROW, _MISSES, _HEAD, _GAP, _TOP = 15.0, 13.0, 16.0, 8.0, 22.0
# A page with more would be slow to open.
MOST_BARS = MOST_MARKS = 1_500


@dataclass(frozen=True, slots=True)
class Bar:
    """A run; batches say their size."""

    x: float
    y: float
    width: float
    fill: str
    text: str
    title: str
    is_late: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A missed request, at its arrival."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the picture with its label; a heading has no line."""

    y: float
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a schedule that is drawn, and of how much it is one."""

    begin_s: float
    end_s: float
    is_whole: bool
    why: str


@dataclass(frozen=True, slots=True)
class TimelinePicture:
    height: float
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    num_missed: int
    cut: Cut
    whole_s: float
    legend: dict[str, Paint]
    bar_height: float = _ROW - 3


def cut_of(schedule: Schedule, begin_s: float | None = None, length_s: float | None = None) -> Cut:
    """What to draw: what is asked for as far as it has at most MOST_BARS runs, else where most requests are missed."""
    runs, whole_s = schedule.runs, schedule.end_s
    if begin_s is not None or length_s is not None:
        first_s = begin_s or 0.0
        last_s = whole_s if length_s is None else min(first_s + length_s, whole_s)
        begun = np.sort(runs.begin_s[(runs.end_s > first_s) & (runs.begin_s < last_s)])
        if len(begun) <= MOST_BARS:
            return Cut(first_s, max(last_s, first_s), first_s <= 0 and last_s >= whole_s, "")
        why = f"shortened: {len(begun):,} stage runs were asked for, {MOST_BARS:,} are drawn"
        return Cut(first_s, float(begun[MOST_BARS]), False, why)
    if len(runs.begin_s) <= MOST_BARS:
        return Cut(0.0, whole_s, True, "")
    return _worst(np.sort(runs.begin_s), schedule.misses.at_s, whole_s)


def _worst(begun: NDArray[np.float64], missed_s: NDArray[np.float64], whole_s: float) -> Cut:
    starts = np.arange(0, len(begun) - MOST_BARS + 1, MOST_BARS // 4)
    missed = np.sort(missed_s)
    ends = begun[starts + MOST_BARS - 1]
    num_missed = np.searchsorted(missed, ends, side="right") - np.searchsorted(missed, begun[starts])
    chosen = int(np.argmax(num_missed))
    where = "where most requests are missed" if num_missed[chosen] else "the first ones"
    why = f"{MOST_BARS:,} of {len(begun):,} stage runs, {where}"
    return Cut(float(begun[starts[chosen]]), float(min(ends[chosen], whole_s)), False, why)


def timeline_picture(schedule: Schedule, cut: Cut) -> TimelinePicture:
    """Lay out the part of a schedule."""
    span_s = max(cut.end_s - cut.begin_s, 1e-9)

    def x_of(at_s: float) -> float:
        return round(LEFT + (at_s - cut.begin_s) / span_s * (WIDTH - LEFT - 8), 2)

    rows, tops, miss_tops, height = _rows(schedule.lanes)
    legend = paints(schedule.models)
    missed = _missed(schedule, cut)
    return TimelinePicture(
        height=height,
        rows=tuple(rows),
        ticks=tuple(Tick(x_of(at_s), tick_text(at_s)) for at_s in ticks(cut.begin_s, cut.end_s, 10)),
        bars=tuple(_bars(schedule, cut, legend, tops, x_of(cut.begin_s), (WIDTH - LEFT - 8) / span_s)),
        marks=tuple(_marks(schedule, evenly(missed, MOST_MARKS), miss_tops, x_of)),
        num_missed=len(missed),
        cut=cut,
        whole_s=schedule.end_s,
        legend=legend,
    )


def _rows(lanes: Iterable[Lane]) -> tuple[list[Row], list[list[float]], list[float], float]:
    """Rows, the tops of each lane's rows, of its misses, and the height of all."""
    rows, tops, miss_tops, y = [], [], [], _TOP
    for lane in lanes:
        rows.append(Row(y, shortened(lane.name, 20), "group"))
        y += _HEAD
        tops.append([y + n * _ROW for n in range(len(lane.rows))])
        rows += [Row(top, label, "stage") for top, label in zip(tops[-1], lane.rows, strict=True)]
        y += len(lane.rows) * _ROW
        miss_tops.append(y)
        rows.append(Row(y, "missed", "missed"))
        y += _MISSES + _GAP
    return rows, tops, miss_tops, y


def _bars(
    schedule: Schedule, cut: Cut, legend: dict[str, Paint], tops: list[list[float]], left: float, per_s: float
) -> Iterable[Bar]:
    runs = schedule.runs
    for n in np.flatnonzero((runs.end_s > cut.begin_s) & (runs.begin_s < cut.end_s)).tolist():
        begin_s, end_s = float(runs.begin_s[n]), float(runs.end_s[n])
        x = left + max(begin_s - cut.begin_s, 0.0) * per_s
        width = (min(end_s, cut.end_s) - max(begin_s, cut.begin_s)) * per_s
        model, num_requests = schedule.models[runs.model[n]], int(runs.num_requests[n])
        of = f" ×{num_requests}" if num_requests > 1 else ""
        is_late = bool(runs.is_late[n])
        title = f"{model}{of}: {begin_s:.3f} to {end_s:.3f} s ({seconds(end_s - begin_s)}){', missed' * is_late}"
        text = shortened(model + of, int(width / 6.2))
        top = tops[runs.lane[n]][runs.row[n]]
        yield Bar(round(x, 2), top, round(max(width, 0.7), 2), legend[model].fill, text, title, is_late)


def _missed(schedule: Schedule, cut: Cut) -> NDArray[np.intp]:
    """Which misses are within the cut, in order of arrival, (num_missed,)."""
    at_s = schedule.misses.at_s
    order = np.argsort(at_s, kind="stable")
    return order[(at_s[order] >= cut.begin_s) & (at_s[order] <= cut.end_s)]


def evenly(found: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most so many, evenly chosen."""
    return found if len(found) <= most else found[np.linspace(0, len(found) - 1, most).astype(np.intp)]


def _marks(
    schedule: Schedule, missed: NDArray[np.intp], tops: Sequence[float], x_of: Callable[[float], float]
) -> Iterable[Mark]:
    own = schedule.misses
    for n in missed.tolist():
        model, kind, at_s = schedule.models[own.model[n]], own.kind[n], float(own.at_s[n])
        yield Mark(x_of(at_s), tops[own.lane[n]], kind, f"{model} {kind}, arrived at {at_s:.3f} s")
