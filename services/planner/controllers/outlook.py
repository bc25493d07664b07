"""The traffic that a controller expects, as workloads to plan for and to be judged by."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.core.synthesis import resampled
from services.core.workload import Workload, workload_from_arrivals

# Gaps of fewer variations than these cannot be drawn from a Gamma.
_LEAST_CV, _MOST_CV = 0.05, 30.0


class Outlook(Protocol):
    """What may come within the horizon."""

    @property
    def rates_per_s(self) -> NDArray[np.float64]:
        """Expected mean rates over the horizon, (num_models,)."""
        ...

    def draws(self, num_draws: int, seed: int, until_s: float = math.inf) -> tuple[Workload, ...]:
        """So many possible workloads of the horizon, or of its begin until `until_s`; fewer where nothing is left to
        chance. Time 0 is now."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SameAgain:
    """More of what was just `seen` over `span_s`: fresh arrivals with its statistics, over and over."""

    seen: Workload
    span_s: float
    horizon_s: float

    @property
    def rates_per_s(self) -> NDArray[np.float64]:
        rates: NDArray[np.float64] = self.seen.num_requests_of / self.span_s
        return rates

    def draws(self, num_draws: int, seed: int, until_s: float = math.inf) -> tuple[Workload, ...]:
        # Who draws less than was seen goes by the latest of it.
        span_s, horizon_s = min(self.span_s, until_s), min(self.horizon_s, until_s)
        seen = self.seen if span_s == self.span_s else self.seen.between(self.span_s - span_s, self.span_s)
        num_parts = max(math.ceil(horizon_s / span_s), 1)
        seeds = np.random.default_rng(seed).integers(0, 1 << 32, (num_draws, num_parts)).tolist()
        return tuple(_one_after_another(seen, span_s, horizon_s, own) for own in seeds)


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Rates that move, known only so well, and how bursty arrivals are around them.

    `rates` (num_models, num_buckets) per second in buckets of `bucket_s` from now on; `spread`
    (num_models,) is the standard deviation of the logarithm of what a model's rates really are times
    these, one factor for the whole horizon; `cv` (num_models,) that of its gaps when the rate is even.
    """

    names: tuple[str, ...]
    rates: NDArray[np.float64]
    bucket_s: float
    spread: NDArray[np.float64]
    cv: NDArray[np.float64]

    @property
    def rates_per_s(self) -> NDArray[np.float64]:
        means: NDArray[np.float64] = self.rates.mean(axis=1)
        return means

    def draws(self, num_draws: int, seed: int, until_s: float = math.inf) -> tuple[Workload, ...]:
        seeds = np.random.default_rng(seed).spawn(num_draws)
        return tuple(self._draw(rng, until_s) for rng in seeds)

    def _draw(self, rng: np.random.Generator, until_s: float) -> Workload:
        # The factor's mean is 1, so that uncertain models are not planned for as busier ones.
        factor = np.exp(self.spread * rng.standard_normal(len(self.names)) - self.spread**2 / 2)
        num_buckets = math.ceil(min(until_s / self.bucket_s, self.rates.shape[1]))
        edges_s = np.minimum(np.arange(num_buckets + 1) * self.bucket_s, until_s)
        expected = self.rates[:, :num_buckets] * factor[:, None] * np.diff(edges_s)
        return workload_from_arrivals(
            {name: _moving_gamma(expected[m], edges_s, float(self.cv[m]), rng) for m, name in enumerate(self.names)}
        )


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The very workload that comes: an oracle's."""

    coming: Workload
    horizon_s: float

    @property
    def rates_per_s(self) -> NDArray[np.float64]:
        rates: NDArray[np.float64] = self.coming.num_requests_of / self.horizon_s
        return rates

    def draws(self, num_draws: int, seed: int, until_s: float = math.inf) -> tuple[Workload, ...]:
        return (self.coming if until_s >= self.horizon_s else self.coming.between(0.0, until_s),)


def _one_after_another(seen: Workload, span_s: float, horizon_s: float, seeds: list[int]) -> Workload:
    parts = [resampled(seen, seed) for seed in seeds]
    return joined(parts, [index * span_s for index in range(len(parts))], horizon_s)


def joined(parts: list[Workload], begins_s: list[float], until_s: float = math.inf) -> Workload:
    """Workloads of the same models one after the other, each part from its begin until the next one's."""
    cut = [
        part.between(0.0, end_s - begin_s)
        for part, begin_s, end_s in zip(parts, begins_s, [*begins_s[1:], until_s], strict=True)
    ]
    return Workload(
        np.concatenate([part.arrival_s + begin_s for part, begin_s in zip(cut, begins_s, strict=True)]),
        np.concatenate([part.model for part in cut]),
        np.concatenate([part.slo_s for part in cut]),
        parts[0].names,
    )


def _moving_gamma(
    expected: NDArray[np.float64], edges_s: NDArray[np.float64], cv: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Gamma gaps in a time in which one request a unit is expected, mapped to the clock; no instant is special."""
    passed = np.concatenate([[0.0], np.cumsum(expected)])
    cv2 = min(max(cv, _LEAST_CV), _MOST_CV) ** 2
    burn_in = 4 * cv2
    length = 2 * burn_in + passed[-1]
    num_gaps = int(length + 5 * math.sqrt(cv2 * length)) + 16
    instants = np.cumsum(rng.gamma(1 / cv2, cv2, num_gaps)) - burn_in * (1 + rng.random())
    instants = instants[(instants >= 0) & (instants < passed[-1])]
    clock_s: NDArray[np.float64] = np.interp(instants, passed, edges_s)
    return clock_s
