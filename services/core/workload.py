"""Workloads: who asks for which model when, in plain arrays, and their CSV text."""

import csv
import io
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload

_REQUIRED_COLUMNS = ("arrival_s", "model")
_COLUMNS = (*_REQUIRED_COLUMNS, "slo_s")
_FALLS = "arrival_s {arrival} comes before the request above it"
# The text of a large file is several times the size of its arrays, so it is read and written in parts.
_ROWS_PER_CHUNK = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Requests in order of arrival.

    `arrival_s` (num_requests,), not decreasing; `model` (num_requests,) indexes `names`; `slo_s`
    (num_requests,) is NaN where a request brings no SLO of its own.
    """

    arrival_s: NDArray[np.float64]
    model: NDArray[np.int32]
    slo_s: NDArray[np.float64]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.arrival_s) == len(self.model) == len(self.slo_s):
            raise InvalidWorkload(
                f"{len(self.arrival_s)} arrivals, {len(self.model)} models and {len(self.slo_s)} SLOs"
            )
        if len(set(self.names)) < len(self.names):
            raise InvalidWorkload(f"model names repeat: {', '.join(self.names)}")
        fault = first_fault(self.arrival_s, self.model, self.slo_s, len(self.names))
        if fault is not None:
            raise InvalidWorkload(f"request {fault[0]}: {fault[1]}")

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def num_requests_of(self) -> NDArray[np.int64]:
        """Requests per model, (num_models,)."""
        return np.bincount(self.model, minlength=len(self.names)).astype(np.int64)

    @property
    def span_s(self) -> float:
        """Seconds from the first arrival to the last; 0 without requests."""
        return float(self.arrival_s[-1] - self.arrival_s[0]) if len(self) else 0.0

    @property
    def arrivals_of_each(self) -> list[NDArray[np.float64]]:
        """Arrival times of each model, in the order of `names`."""
        order = np.argsort(self.model, kind="stable")
        return np.split(self.arrival_s[order], np.cumsum(self.num_requests_of)[:-1]) if self.names else []

    def aligned(self, names: Sequence[str]) -> "Workload":
        """The same requests, indexing `names`.

        Raises: InvalidWorkload for a request of a model that `names` lacks.
        """
        index_of = {name: i for i, name in enumerate(names)}
        new_index = np.array([index_of.get(name, -1) for name in self.names], dtype=np.int32)
        model = new_index[self.model] if len(self) else self.model
        strangers = np.flatnonzero(model < 0)
        if len(strangers):
            name = self.names[self.model[strangers[0]]]
            raise InvalidWorkload(f"request {strangers[0]}: unknown model {name!r}")
        return replace(self, model=model, names=tuple(names))

    def restricted(self, names: Iterable[str]) -> "Workload":
        """Only the requests of these models; the indices stay."""
        kept = set(names)
        of_kept = np.array([name in kept for name in self.names], dtype=np.bool_)
        return self._where(of_kept[self.model])

    def between(self, begin_s: float, end_s: float) -> "Workload":
        """The requests of [begin_s, end_s), their arrivals counted from `begin_s`."""
        low, high = np.searchsorted(self.arrival_s, [begin_s, end_s])
        part = slice(int(low), int(high))
        return Workload(self.arrival_s[part] - begin_s, self.model[part], self.slo_s[part], self.names)

    def with_time_scale(self, factor: float) -> "Workload":
        """The same requests with every arrival time multiplied by `factor`."""
        if not (np.isfinite(factor) and factor > 0):
            raise InvalidWorkload(f"a time scale must be positive, got {factor!r}")
        return replace(self, arrival_s=self.arrival_s * factor)

    def with_rate_scale(self, factor: float, seed: int) -> "Workload":
        """About `factor` times the requests over the same span, bursts where they were.

        Each request is kept floor(factor) times and once more by chance; a copy arrives at random
        before the next request of its model, so that copies do not come in pairs.
        """
        if not (np.isfinite(factor) and factor >= 0):
            raise InvalidWorkload(f"a rate scale must not be negative, got {factor!r}")
        rng = np.random.default_rng(seed)
        copies = np.floor(factor + rng.random(len(self))).astype(np.int64)
        source = np.repeat(np.arange(len(self)), copies)
        is_copy = np.zeros(len(source), dtype=np.bool_)
        is_copy[1:] = source[1:] == source[:-1]
        gap_s = self._gap_to_next_s()[source]
        arrival_s = self.arrival_s[source] + np.where(is_copy, rng.random(len(source)) * gap_s, 0.0)
        order = np.argsort(arrival_s, kind="stable")
        source = source[order]
        return Workload(arrival_s[order], self.model[source], self.slo_s[source], self.names)

    def _gap_to_next_s(self) -> NDArray[np.float64]:
        order = np.argsort(self.model, kind="stable")
        is_last = np.diff(self.model[order], append=-1) != 0
        gap_s = np.empty(len(self))
        gap_s[order] = np.where(is_last, 0.0, np.diff(self.arrival_s[order], append=0.0))
        return gap_s

    def _where(self, kept: NDArray[np.bool_]) -> "Workload":
        return Workload(self.arrival_s[kept], self.model[kept], self.slo_s[kept], self.names)


def first_fault(
    arrival_s: NDArray[np.float64], model: NDArray[np.int32], slo_s: NDArray[np.float64], num_models: int
) -> tuple[int, str] | None:
    """The first request that breaks a promise and what is wrong with it, or None."""
    falls = np.zeros(len(arrival_s), dtype=np.bool_)
    falls[1:] = arrival_s[1:] < arrival_s[:-1]
    with np.errstate(invalid="ignore"):
        checks = (
            (~(np.isfinite(arrival_s) & (arrival_s >= 0)), "arrival_s {arrival} is not a time since the start"),
            (falls, _FALLS),
            ((model < 0) | (model >= num_models), "unknown model {model}"),
            (~(np.isnan(slo_s) | (np.isfinite(slo_s) & (slo_s > 0))), "slo_s {slo} is not positive"),
        )
    faults = [(int(np.argmax(broken)), text) for broken, text in checks if broken.any()]
    if not faults:
        return None
    row, text = min(faults, key=lambda fault: fault[0])
    return row, text.format(arrival=float(arrival_s[row]), model=int(model[row]), slo=float(slo_s[row]))


def workload_from_arrivals(arrivals: Mapping[str, NDArray[np.float64]]) -> Workload:
    """Merge arrival times per model; equal times keep the order of the models."""
    names = tuple(arrivals)
    times = [np.asarray(arrivals[name], dtype=np.float64) for name in names]
    arrival_s = np.concatenate([np.empty(0), *times])
    model = np.repeat(np.arange(len(names), dtype=np.int32), [len(own) for own in times])
    order = np.argsort(arrival_s, kind="stable")
    return Workload(arrival_s[order], model[order], np.full(len(order), np.nan), names)


def parse_workload(lines: Iterable[str]) -> Workload:
    """Read CSV with the header `arrival_s,model[,slo_s]`; names come in order of appearance.

    The lines are read once and not kept. Raises: InvalidWorkload, naming the line and the value.
    """
    reader = csv.reader(lines, strict=True)
    columns = _Columns()
    try:
        header = _checked_header(next(reader, []))
        rows = ((reader.line_num, row) for row in reader if row)
        while chunk := list(islice(rows, _ROWS_PER_CHUNK)):
            columns.append(header, chunk)
    except csv.Error as error:
        raise InvalidWorkload(f"line {reader.line_num}: {error}") from None
    return columns.workload()


class _Columns:
    """Requests as they are read, in arrays that grow."""

    def __init__(self) -> None:
        self._arrival_s = array("d")
        self._model = array("i")
        self._slo_s = array("d")
        self._index_of: dict[str, int] = {}

    def append(self, header: Sequence[str], chunk: Sequence[tuple[int, list[str]]]) -> None:
        """Raises: InvalidWorkload for the first row that is none or comes before the row above it."""
        for line, row in chunk:
            if len(row) != len(header):
                raise InvalidWorkload(f"line {line}: {len(row)} values for {len(header)} columns: {','.join(row)!r}")
        line_of = [line for line, _ in chunk]
        cells = {name: [row[i].strip() for _, row in chunk] for i, name in enumerate(header)}
        slo_texts = cells.get("slo_s", [""] * len(chunk))
        arrival_s = _numbers("arrival_s", cells["arrival_s"], line_of)
        given = [i for i, text in enumerate(slo_texts) if text]
        slo_s = np.full(len(chunk), np.nan)
        slo_s[given] = _numbers("slo_s", [slo_texts[i] for i in given], [line_of[i] for i in given])
        if "" in cells["model"]:
            raise InvalidWorkload(f"line {line_of[cells['model'].index('')]}: no model")
        index_of = self._index_of
        model = np.array([index_of.setdefault(name, len(index_of)) for name in cells["model"]], dtype=np.int32)
        fault = first_fault(arrival_s, model, slo_s, len(index_of))
        if fault is None and self._arrival_s and arrival_s[0] < self._arrival_s[-1]:
            fault = 0, _FALLS.format(arrival=float(arrival_s[0]))
        if fault is not None:
            raise InvalidWorkload(f"line {line_of[fault[0]]}: {fault[1]}")
        self._arrival_s.frombytes(arrival_s.tobytes())
        self._model.frombytes(model.tobytes())
        self._slo_s.frombytes(slo_s.tobytes())

    def workload(self) -> Workload:
        return Workload(
            np.frombuffer(self._arrival_s, dtype=np.float64),
            np.frombuffer(self._model, dtype=np.int32),
            np.frombuffer(self._slo_s, dtype=np.float64),
            tuple(self._index_of),
        )


def _checked_header(cells: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    unknown = [name for name in header if name not in _COLUMNS]
    missing = [name for name in _REQUIRED_COLUMNS if name not in header]
    if unknown or missing or len(set(header)) < len(header):
        raise InvalidWorkload(f"the header must be arrival_s,model[,slo_s], got {','.join(header)!r}")
    return header


def _numbers(column: str, texts: list[str], line_of: list[int]) -> NDArray[np.float64]:
    """Raises: InvalidWorkload for text that is no finite number."""
    try:
        numbers = np.array([float(text) for text in texts], dtype=np.float64)
    except ValueError:
        numbers = np.array([np.nan])
    if np.isfinite(numbers).all():
        return numbers
    for text, line in zip(texts, line_of, strict=True):
        try:
            is_finite = bool(np.isfinite(float(text)))
        except ValueError:
            is_finite = False
        if not is_finite:
            raise InvalidWorkload(f"line {line}: {column} {text!r} is not a finite number")
    return numbers


def format_workload(workload: Workload) -> str:
    """CSV text that `parse_workload` reads back exactly; the SLO column only where it says something."""
    text = io.StringIO()
    write_workload(workload, text)
    return text.getvalue()


def write_workload(workload: Workload, text: TextIO) -> None:
    """Write what `format_workload` returns, part by part."""
    writer = csv.writer(text, lineterminator="\n")
    has_slo = bool((~np.isnan(workload.slo_s)).any())
    writer.writerow(_COLUMNS if has_slo else _REQUIRED_COLUMNS)
    for begin in range(0, len(workload), _ROWS_PER_CHUNK):
        part = slice(begin, begin + _ROWS_PER_CHUNK)
        arrivals = [repr(arrival_s) for arrival_s in workload.arrival_s[part].tolist()]
        models = [workload.names[model] for model in workload.model[part].tolist()]
        if has_slo:
            slos = ["" if slo_s != slo_s else repr(slo_s) for slo_s in workload.slo_s[part].tolist()]
            writer.writerows(zip(arrivals, models, slos, strict=True))
        else:
            writer.writerows(zip(arrivals, models, strict=True))
