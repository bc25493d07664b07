"""Readers of the public Azure Functions traces in their official forms, line by line.

MAF1 is the 2019 trace (Shahrad et al., ATC 2020), counts per minute; MAF2 the 2021 trace (Zhang et
al., SOSP 2021), single invocations. The i-th function that is invoked at all becomes model i mod n.
"""

import csv
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload
from services.core.workload import Workload

_MAF2_COLUMNS = ["app", "func", "end_timestamp", "duration"]
_MAF1_FIRST_COLUMNS = ["HashOwner", "HashApp", "HashFunction", "Trigger"]


def read_maf2(lines: Iterable[str], names: Sequence[str], begin_s: float = 0.0, end_s: float = math.inf) -> Workload:
    """Invocations that start in [begin_s, end_s) of the trace, counted from `begin_s`.

    An invocation starts at its end minus its duration; functions are numbered by first appearance.
    Raises: InvalidWorkload naming the line.
    """
    rows = csv.reader(lines)
    if next(rows, None) != _MAF2_COLUMNS:
        raise InvalidWorkload(f"line 1: not the columns of a MAF2 trace: {','.join(_MAF2_COLUMNS)}")
    number_of: dict[tuple[str, str], int] = {}
    starts, functions = array("d"), array("i")
    for line, row in enumerate(rows, start=2):
        try:
            app, func, end, duration = row
            start_s = float(end) - float(duration)
        except ValueError:
            raise InvalidWorkload(f"line {line}: not an invocation: {','.join(row)!r}") from None
        if not math.isfinite(start_s):
            raise InvalidWorkload(f"line {line}: not a time: {','.join(row)!r}")
        if begin_s <= start_s < end_s:
            starts.append(start_s - begin_s)
            functions.append(number_of.setdefault((app, func), len(number_of)))
    arrival_s = np.frombuffer(starts, dtype=np.float64)
    order = np.argsort(arrival_s, kind="stable")
    model = np.frombuffer(functions, dtype=np.int32)[order] % len(names)
    return Workload(arrival_s[order], model, np.full(len(order), np.nan), tuple(names))


def read_maf1(
    lines: Iterable[str], names: Sequence[str], first_minute: int = 0, num_minutes: int = 1440
) -> dict[str, NDArray[np.int64]]:
    """Invocations per model and minute, (num_minutes,) each, from `first_minute` of the day on.

    `arrivals` makes workloads of them. Raises: InvalidWorkload naming the line.
    """
    return read_maf1_days([lines], names, first_minute, num_minutes)


def read_maf1_days(
    days: Iterable[Iterable[str]], names: Sequence[str], first_minute: int = 0, num_minutes: int = 1440
) -> dict[str, NDArray[np.int64]]:
    """The same over the files of consecutive days, minutes counting from the first; later ones stay unread.

    A function is the same on every day, known by its hashes and trigger.
    Raises: InvalidWorkload naming the day and the line.
    """
    if first_minute < 0 or num_minutes < 1:
        raise InvalidWorkload(f"the trace has no minutes {first_minute} to {first_minute + num_minutes}")
    counts = np.zeros((len(names), num_minutes), dtype=np.int64)
    number_of: dict[tuple[str, ...], int] = {}
    begin = 0
    for day, lines in enumerate(days, start=1):
        if begin >= first_minute + num_minutes:
            break
        try:
            begin += _add_day(csv.reader(lines), counts, number_of, first_minute - begin)
        except InvalidWorkload as error:
            raise InvalidWorkload(f"day {day}, {error}") from None
    if begin < first_minute + num_minutes:
        raise InvalidWorkload(f"the trace has no minutes {first_minute} to {first_minute + num_minutes}, only {begin}")
    return dict(zip(names, counts, strict=True))


def _add_day(
    rows: Iterator[list[str]], counts: NDArray[np.int64], number_of: dict[tuple[str, ...], int], first_minute: int
) -> int:
    """Add to `counts` (num_models, num_minutes), which begin at `first_minute` of this day; its length."""
    header = next(rows, [])
    length = len(header) - 4
    if header[:4] != _MAF1_FIRST_COLUMNS or header[4:] != [str(i + 1) for i in range(length)]:
        raise InvalidWorkload(f"line 1: not the columns of a MAF1 trace: {','.join(_MAF1_FIRST_COLUMNS)},1,2,…")
    low, high = max(first_minute, 0), min(first_minute + counts.shape[1], length)
    if low >= high:
        return length
    into = counts[:, low - first_minute : high - first_minute]
    for line, row in enumerate(rows, start=2):
        try:
            own = np.array(row[4 + low : 4 + high], dtype=np.int64)
        except (ValueError, OverflowError):
            own = np.array([-1])
        if len(row) != len(header) or (own < 0).any():
            raise InvalidWorkload(f"line {line}: not {length} counts of invocations")
        if own.any():
            number = number_of.setdefault(tuple(row[:4]), len(number_of))
            into[number % len(into)] += own
    return length
