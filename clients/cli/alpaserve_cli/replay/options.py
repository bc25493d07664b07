"""How a workload is sent, and how the sending stands."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from alpaserve_client import ConnectionOptions


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a workload is sent.

    `slo_s` by model goes with the requests that bring none of their own; where there is neither,
    the router's own holds and every answer counts as on time. `speed` 2 sends in half the time. The
    first `num_warm_up` requests are sent and not counted. `timeout_s` bounds every call;
    `progress_every_s` is the pace of `on_progress`.
    """

    slo_s: Mapping[str, float] = field(default_factory=dict)
    speed: float = 1.0
    timeout_s: float = 60.0
    num_warm_up: int = 0
    num_channels: int = 4
    connect_timeout_s: float = 10.0
    progress_every_s: float = 0.5
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)

    def __post_init__(self) -> None:
        for name in ("speed", "timeout_s", "connect_timeout_s", "progress_every_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value!r}")
        if self.num_channels < 1:
            raise ValueError(f"num_channels must be at least 1, got {self.num_channels}")
        if self.num_warm_up < 0:
            raise ValueError(f"num_warm_up must not be negative, got {self.num_warm_up}")


@dataclass(frozen=True, slots=True)
class Share:
    """Every `stride`-th request of a workload from the `first` on: what one of several processes sends.

    A request's id is `run_id` and its number in the whole workload.
    """

    first: int = 0
    stride: int = 1
    run_id: str = "replay"

    def number(self, index: int) -> int:
        """Which request of the workload the share's index-th is."""
        return self.first + index * self.stride

    def num_of(self, num_requests: int) -> int:
        """How many of the workload's first `num_requests` are in it."""
        return len(range(self.first, num_requests, self.stride))

    @property
    def rows(self) -> slice:
        return slice(self.first, None, self.stride)


@dataclass(frozen=True, slots=True)
class Progress:
    """The replay so far; `outcomes` counts the answered requests by class, those of the warm-up aside."""

    elapsed_s: float
    num_requests: int
    num_sent: int
    num_answered: int
    outcomes: Mapping[str, int]

    @property
    def attainment(self) -> float | None:
        """Of the counted requests that were answered; None without any."""
        num_counted = sum(self.outcomes.values())
        return self.outcomes["served"] / num_counted if num_counted else None

    @property
    def num_in_flight(self) -> int:
        return self.num_sent - self.num_answered

    def __add__(self, other: "Progress") -> "Progress":
        """Of two processes together."""
        return Progress(
            max(self.elapsed_s, other.elapsed_s),
            self.num_requests + other.num_requests,
            self.num_sent + other.num_sent,
            self.num_answered + other.num_answered,
            {name: count + other.outcomes[name] for name, count in self.outcomes.items()},
        )
