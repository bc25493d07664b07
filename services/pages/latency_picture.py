"""Latencies as a picture: which share of all requests was answered within how long."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.pages.figures import seconds

WIDTH, HEIGHT, LEFT, BOTTOM = 640.0, 260.0, 48.0, 34.0
_MOST_POINTS = 300
_TOP, _RIGHT = 10.0, 12.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of the picture: `number` chooses how it is drawn."""

    label: str
    number: int
    points: str


@dataclass(frozen=True, slots=True)
class LatencyPicture:
    """Curves over latencies on a logarithmic axis; ticks are (position, text)."""

    curves: tuple[Curve, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


def latency_picture(latency_s: Mapping[str, NDArray[np.float64]], num_requests: int) -> LatencyPicture | None:
    """Curves by label: latencies of those that were answered, out of `num_requests`. None if nothing was."""
    sorted_s = {label: np.sort(own[own > 0]) for label, own in latency_s.items()}
    everything = np.concatenate(list(sorted_s.values()))
    if not len(everything):
        return None
    low, high = np.log10(everything.min()), np.log10(everything.max())
    if high - low < 0.3:
        low, high = low - 0.15, high + 0.15
    across = WIDTH - LEFT - _RIGHT
    up = HEIGHT - BOTTOM - _TOP

    def x_of(value_s: float) -> float:
        return round(float(LEFT + (np.log10(value_s) - low) / (high - low) * across), 1)

    def y_of(share: float) -> float:
        return round(_TOP + (1 - share) * up, 1)

    curves = []
    for number, (label, own) in enumerate(sorted_s.items()):
        chosen = np.unique(np.linspace(0, len(own) - 1, min(len(own), _MOST_POINTS)).astype(np.int64))
        corners = [(x_of(float(own[n])), y_of((n + 1) / num_requests)) for n in chosen.tolist()]
        ends = [*corners, (WIDTH - _RIGHT, corners[-1][1])] if corners else []
        curves.append(Curve(label, number, " ".join(f"{x},{y}" for x, y in ends)))
    return LatencyPicture(
        tuple(curves),
        tuple((x_of(value), seconds(value)) for value in _decades(float(low), float(high))),
        tuple((y_of(share), f"{share:.0%}".replace("%", " %")) for share in (0, 0.25, 0.5, 0.75, 1)),
    )


def _decades(low: float, high: float) -> list[float]:
    """Round values of a logarithmic axis, fewer over longer spans."""
    factors = (1, 2, 5) if high - low < 2.2 else (1,)
    values = [factor * 10.0**power for power in range(int(np.floor(low)), int(np.ceil(high)) + 1) for factor in factors]
    return [value for value in values if low <= np.log10(value) <= high]
