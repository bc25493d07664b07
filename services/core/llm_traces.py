"""Readers of public traces of LLM serving, line by line.

Azure's hour of 2023 and weeks of 2024 (Patel et al., ISCA 2024; Stojkovic et al., HPCA 2025) list single
requests. ServeGen (Xiang et al., NSDI 2026) publishes a file per client: windows, each with a rate and
the distribution of its gaps.
"""

import csv
import math
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload
from services.core.workload import Workload, workload_from_arrivals

_AZURE_COLUMNS = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d+)?(?:Z|\+00:00)?")
_EPOCH = datetime(2000, 1, 1)
# Below these shapes nearly all gaps are nothing and the rest is no float.
_LEAST_SHAPE = {"Gamma": 1e-4, "Weibull": 0.05}
# What a window lasts where a client has no second one to tell.
_WINDOW_S = 600.0


def read_azure_llm(
    lines: Iterable[str],
    names: Sequence[str],
    shares: Sequence[float] | None = None,
    seed: int = 0,
    begin_s: float = 0.0,
    end_s: float = math.inf,
) -> Workload:
    """Requests of [begin_s, end_s) after the trace's first, counted from `begin_s`.

    The trace is one model's stream. Request i of those goes to model i mod n, which makes the gaps of
    each more even; with `shares` to a model drawn in these proportions, which leaves bursts as they are.
    Raises: InvalidWorkload naming the line.
    """
    rows = csv.reader(lines)
    if [cell.strip() for cell in next(rows, [])] != _AZURE_COLUMNS:
        raise InvalidWorkload(f"line 1: not the columns of an Azure LLM trace: {','.join(_AZURE_COLUMNS)}")
    whole_s, fraction_s = array("q"), array("d")
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        match = _TIMESTAMP.fullmatch(row[0].strip()) if len(row) == len(_AZURE_COLUMNS) else None
        if match is None:
            raise InvalidWorkload(f"line {line}: not a request: {','.join(row)!r}")
        try:
            since = datetime.fromisoformat(match[1]) - _EPOCH
        except ValueError:
            raise InvalidWorkload(f"line {line}: not a time: {row[0]!r}") from None
        whole_s.append(since.days * 86_400 + since.seconds)
        fraction_s.append(float(match[2] or 0))
    whole = np.array(whole_s, dtype=np.int64)
    arrival_s = np.sort((whole - whole.min(initial=2**62)).astype(np.float64) + np.array(fraction_s, dtype=np.float64))
    arrival_s -= arrival_s[:1].sum()
    kept = arrival_s[(arrival_s >= begin_s) & (arrival_s < end_s)] - begin_s
    return Workload(kept, _dealt(len(kept), len(names), shares, seed), np.full(len(kept), np.nan), tuple(names))


def _dealt(num_requests: int, num_models: int, shares: Sequence[float] | None, seed: int) -> NDArray[np.int32]:
    if shares is None:
        return (np.arange(num_requests) % num_models).astype(np.int32)
    share = np.asarray(shares, dtype=np.float64)
    if len(share) != num_models or not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise InvalidWorkload(f"shares of {num_models} models must not be negative nor all 0, got {list(shares)}")
    return np.random.default_rng(seed).choice(num_models, num_requests, p=share / share.sum()).astype(np.int32)


@dataclass(frozen=True, slots=True)
class ClientWindow:
    """Arrivals of one client in [begin_s, end_s): gaps of this distribution, their mean 1 / rate."""

    begin_s: float
    end_s: float
    rate_per_s: float
    distribution: str
    shape: float


def read_servegen_client(lines: Iterable[str]) -> tuple[ClientWindow, ...]:
    """The windows of `chunk-<id>-trace.csv` in which the client asks at all.

    Rows without a header: the window's begin in seconds, rate, CV, distribution (empty: idle), and its
    two parameters, of which the first is the shape; the second is a scale that the rate already tells.
    A window ends where the next begins. Raises: InvalidWorkload naming the line.
    """
    rows = [_servegen_row(line, row) for line, row in enumerate(csv.reader(lines), start=1) if row]
    begins = [begin_s for begin_s, *_ in rows]
    for line, (before_s, begin_s) in enumerate(pairwise(begins), start=2):
        if begin_s <= before_s:
            raise InvalidWorkload(f"window {line} begins at {begin_s:g} s, not after the one above it")
    last_window_s = begins[-1] - begins[-2] if len(begins) > 1 else _WINDOW_S
    ends = [*begins[1:], *(begin_s + last_window_s for begin_s in begins[-1:])]
    return tuple(
        ClientWindow(begin_s, end_s, rate_per_s, distribution, shape)
        for (begin_s, rate_per_s, distribution, shape), end_s in zip(rows, ends, strict=True)
        if distribution and rate_per_s > 0
    )


def _servegen_row(line: int, row: Sequence[str]) -> tuple[float, float, str, float]:
    """(begin_s, rate_per_s, distribution, shape)."""
    try:
        begin, rate, cv, distribution, shape, scale = row
        begin_s, rate_per_s, own_shape = float(begin), float(rate), float(shape)
        figures = (begin_s, rate_per_s, float(cv), own_shape, float(scale))
    except ValueError:
        raise InvalidWorkload(f"line {line}: not a ServeGen window: {','.join(row)!r}") from None
    name = distribution.strip()
    if name and name not in _LEAST_SHAPE:
        raise InvalidWorkload(f"line {line}: distribution {name!r} is not one of {', '.join(_LEAST_SHAPE)}")
    is_drawable = not name or rate_per_s == 0 or own_shape >= _LEAST_SHAPE[name]
    if not (all(math.isfinite(figure) and figure >= 0 for figure in figures) and is_drawable):
        raise InvalidWorkload(f"line {line}: figures out of range: {','.join(row)!r}")
    return begin_s, rate_per_s, name, own_shape


def servegen_workload(
    clients: Sequence[Sequence[ClientWindow]],
    names: Sequence[str],
    seed: int,
    begin_s: float = 0.0,
    end_s: float = math.inf,
    rate_scale: float = 1.0,
) -> Workload:
    """Arrivals drawn for [begin_s, end_s), counted from `begin_s`.

    The i-th client that asks at all in that time is one of those of model i mod n.
    """
    if not (math.isfinite(rate_scale) and rate_scale >= 0):
        raise InvalidWorkload(f"a rate scale must not be negative, got {rate_scale!r}")
    parts: list[list[NDArray[np.float64]]] = [[np.empty(0)] for _ in names]
    num_active = 0
    for i, windows in enumerate(clients):
        rng = np.random.default_rng([seed, i])
        cut = [(max(own.begin_s, begin_s), min(own.end_s, end_s), own) for own in windows]
        seen = [(low_s, high_s, own) for low_s, high_s, own in cut if low_s < high_s]
        for low_s, high_s, own in seen:
            drawn_s = _renewals(own, own.rate_per_s * rate_scale, high_s - low_s, rng)
            parts[num_active % len(names)].append(low_s - begin_s + drawn_s)
        num_active += bool(seen)
    return workload_from_arrivals({name: np.sort(np.concatenate(own)) for name, own in zip(names, parts, strict=True)})


def _renewals(
    window: ClientWindow, rate_per_s: float, duration_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Arrivals in [0, duration_s) of a process that has long been going on, so that its rate is as given."""
    is_gamma, shape = window.distribution == "Gamma", window.shape
    mean = shape if is_gamma else math.gamma(1 + 1 / shape)
    # The gap under way at a random instant is drawn in proportion to its length; the instant lies anywhere in it.
    under_way = rng.standard_gamma(1 + (shape if is_gamma else 1 / shape)) ** (1.0 if is_gamma else 1 / shape)
    arrivals = [np.array([under_way * rng.random() / mean])]
    num_gaps = int(rate_per_s * duration_s) + 16
    while arrivals[-1][-1] < rate_per_s * duration_s:
        gaps = rng.standard_gamma(shape, num_gaps) if is_gamma else rng.weibull(shape, num_gaps)
        arrivals.append(arrivals[-1][-1] + np.cumsum(gaps / mean))
    arrival = np.concatenate(arrivals)
    return arrival[arrival < rate_per_s * duration_s] / max(rate_per_s, 1e-300)
