"""Workloads: who asks for which model when, in plain arrays, and their CSV text."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload

_REQUIRED_COLUMNS = ("arrival_s", "model")
_COLUMNS = (*_REQUIRED_COLUMNS, "slo_s")


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
        gap_s = np.zeros(len(self))
        for model in range(len(self.names)):
            own = np.flatnonzero(self.model == model)
            gap_s[own[:-1]] = np.diff(self.arrival_s[own])
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
            (falls, "arrival_s {arrival} comes before the request above it"),
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

    Raises: InvalidWorkload, naming the line and the value.
    """
    reader = csv.reader(lines, strict=True)
    try:
        columns, line_of = _read_columns(reader)
    except csv.Error as error:
        raise InvalidWorkload(f"line {reader.line_num}: {error}") from None
    arrival_s = _numbers("arrival_s", columns["arrival_s"], line_of)
    given = [i for i, text in enumerate(columns["slo_s"]) if text]
    slo_s = np.full(len(line_of), np.nan)
    slo_s[given] = _numbers("slo_s", [columns["slo_s"][i] for i in given], [line_of[i] for i in given])
    index_of = {name: i for i, name in enumerate(dict.fromkeys(columns["model"]))}
    if "" in index_of:
        raise InvalidWorkload(f"line {line_of[columns['model'].index('')]}: no model")
    model = np.array([index_of[name] for name in columns["model"]], dtype=np.int32)
    fault = first_fault(arrival_s, model, slo_s, len(index_of))
    if fault is not None:
        raise InvalidWorkload(f"line {line_of[fault[0]]}: {fault[1]}")
    return Workload(arrival_s, model, slo_s, tuple(index_of))


def _read_columns(reader: Iterator[list[str]]) -> tuple[dict[str, list[str]], list[int]]:
    """The cells of each column, stripped, and the line of each row."""
    header = [cell.strip() for cell in next(reader, [])]
    unknown = [name for name in header if name not in _COLUMNS]
    missing = [name for name in _REQUIRED_COLUMNS if name not in header]
    if unknown or missing or len(set(header)) < len(header):
        raise InvalidWorkload(f"the header must be arrival_s,model[,slo_s], got {','.join(header)!r}")
    rows: list[list[str]] = []
    line_of: list[int] = []
    for row in reader:
        if row:
            rows.append(row)
            line_of.append(reader.line_num)  # type: ignore[attr-defined]
    for row, line in zip(rows, line_of, strict=True):
        if len(row) != len(header):
            raise InvalidWorkload(f"line {line}: {len(row)} values for {len(header)} columns: {','.join(row)!r}")
    cells = {name: [row[i].strip() for row in rows] for i, name in enumerate(header)}
    return {"slo_s": [""] * len(rows)} | cells, line_of


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
    writer = csv.writer(text, lineterminator="\n")
    has_slo = bool((~np.isnan(workload.slo_s)).any())
    writer.writerow(_COLUMNS if has_slo else _REQUIRED_COLUMNS)
    rows = zip(workload.arrival_s.tolist(), workload.model.tolist(), workload.slo_s.tolist(), strict=True)
    for arrival_s, model, slo_s in rows:
        cells = [repr(arrival_s), workload.names[model]]
        if has_slo:
            cells.append("" if slo_s != slo_s else repr(slo_s))
        writer.writerow(cells)
    return text.getvalue()
