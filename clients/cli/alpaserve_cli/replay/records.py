"""What became of every request of a replay, as CSV: one row a request, in the order of arrival."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from alpaserve_cli.files import writing
from alpaserve_cli.replay.outcomes import Outcome, ReplayResult
from services.core.records import COLUMNS

_ROWS_PER_CHUNK = 16_384


def write_records(result: ReplayResult, path: Path) -> None:
    """Write the requests that were sent, those of the warm-up too; an empty cell says that there is no such value.

    `stage_begin_s` and `stage_end_s` are a number per stage, `;` between them. Raises: InvalidArgument for a
    path that cannot be written.
    """
    with writing(path) as text:
        write_rows(result, result.sent, text)


def write_rows(result: ReplayResult, chosen: NDArray[np.bool_], text: TextIO) -> None:
    """Write the chosen requests (num_requests,) below their header."""
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = np.flatnonzero(chosen)
    for begin in range(0, len(rows), _ROWS_PER_CHUNK):
        writer.writerows(_rows(result, rows[begin : begin + _ROWS_PER_CHUNK]))


def _rows(result: ReplayResult, chosen: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
    group_names = (*result.group_names, "")  # the last is that of -1
    version = result.placement_version[chosen].tolist()
    return zip(
        _numbers(result.arrival_s[chosen]),
        (result.names[model] for model in result.model[chosen].tolist()),
        _numbers(result.slo_s[chosen]),
        (Outcome(outcome).name.lower() for outcome in result.outcome[chosen].tolist()),
        result.status_names(chosen),
        _numbers(result.latency_s[chosen]),
        _numbers(result.send_delay_s[chosen]),
        (group_names[group] for group in result.group[chosen].tolist()),
        (str(one) if one else "" for one in version),
        _numbers(result.queue_time_s[chosen]),
        _numbers(result.execution_time_s[chosen]),
        _numbers(result.predicted_finish_s[chosen]),
        _lists(result.stage_begin_s[chosen]),
        _lists(result.stage_end_s[chosen]),
        strict=True,
    )


def _numbers(values: NDArray[np.float64]) -> list[str]:
    """Exactly readable; nothing for what is no finite number."""
    return [repr(value) if finite else "" for value, finite in zip(values.tolist(), np.isfinite(values), strict=True)]


def _lists(values: NDArray[np.float64]) -> list[str]:
    """Of (num_requests, num_stages), NaN beyond a request's own."""
    return [";".join(part for part in _numbers(row) if part) for row in values]
