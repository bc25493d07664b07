"""What a load test makes of a workload: its rate on a ramp, its models by other names, its SLOs as a mix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidWorkload
from services.core.workload import Workload

# Shares are written in decimals, whose sum is seldom 1 to the last bit.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Ramp:
    """A multiplier of the rate over time: linear between the points, constant before and after them.

    Raises: InvalidWorkload for what is no such function, or one that ends at 0: the requests after it would
    never come.
    """

    at_s: tuple[float, ...]
    multiplier: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.at_s or len(self.at_s) != len(self.multiplier):
            raise InvalidWorkload(f"a ramp needs a multiplier per time, got {self.at_s} and {self.multiplier}")
        if not all(math.isfinite(at_s) and at_s >= 0 for at_s in self.at_s):
            raise InvalidWorkload(f"a ramp's times must not be negative, got {self.at_s}")
        if any(later <= earlier for earlier, later in zip(self.at_s, self.at_s[1:], strict=False)):
            raise InvalidWorkload(f"a ramp's times must rise, got {self.at_s}")
        if not all(math.isfinite(one) and one >= 0 for one in self.multiplier) or self.multiplier[-1] == 0:
            raise InvalidWorkload(f"a ramp's multipliers must not be negative, nor end at 0, got {self.multiplier}")

    def time_of(self, volume_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """When the integral of the multiplier comes to `volume_s`, (num_requests,) each."""
        at = np.array([0.0, *self.at_s]) if self.at_s[0] > 0 else np.array(self.at_s)
        height = np.array([self.multiplier[0]] * (len(at) - len(self.at_s)) + list(self.multiplier))
        slope = np.append(np.diff(height) / np.diff(at), 0.0)
        reached = np.concatenate([[0.0], np.cumsum((height[1:] + height[:-1]) / 2 * np.diff(at))])
        part = np.searchsorted(reached, volume_s, side="right") - 1
        rest = volume_s - reached[part]
        # The root of rest = height·t + slope·t²/2 that loses no digits; at a height of 0 with nothing left it is 0.
        root = height[part] + np.sqrt(np.maximum(height[part] ** 2 + 2 * slope[part] * rest, 0.0))
        since = np.divide(2 * rest, root, out=np.zeros_like(rest), where=root > 0)
        # Where squares vanish, as of a multiplier of 1e-200, the root is too small.
        since = np.minimum(since, np.append(np.diff(at), np.inf)[part])
        return np.maximum.accumulate(at[part] + since)


def with_ramp(workload: Workload, ramp: Ramp) -> Workload:
    """The same requests in the same order, closer together where the multiplier is above 1, from the first
    arrival on. Time is warped, so that bursts stay as they are for their rate."""
    if len(workload) == 0:
        return workload
    first_s = workload.arrival_s[0]
    return replace(workload, arrival_s=first_s + ramp.time_of(workload.arrival_s - first_s))


def dealt_to(workload: Workload, names: Sequence[str]) -> Workload:
    """The requests of the workload's i-th model as those of the i-th of `names`, from the first again where there
    are more; as they are if all of its models are among them.

    Raises: InvalidWorkload without names.
    """
    if not names:
        raise InvalidWorkload("there is no model to deal the requests to")
    if set(workload.names) <= set(names):
        return workload.aligned(names)
    receiver = np.arange(len(workload.names), dtype=np.int32) % len(names)
    return replace(workload, model=receiver[workload.model], names=tuple(names))


@dataclass(frozen=True, slots=True)
class SloMix:
    """Shares of a model's requests and their SLOs in seconds; what is left of 1 keeps the SLO that it has.

    Raises: InvalidWorkload for shares or SLOs that are none.
    """

    share: tuple[float, ...]
    slo_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.share or len(self.share) != len(self.slo_s):
            raise InvalidWorkload(f"a mix needs an SLO per share, got {self.share} and {self.slo_s}")
        if not all(math.isfinite(one) and one >= 0 for one in self.share) or sum(self.share) > 1 + _ROUNDING:
            raise InvalidWorkload(f"shares must not be negative nor sum to more than 1, got {self.share}")
        if not all(math.isfinite(one) and one > 0 for one in self.slo_s):
            raise InvalidWorkload(f"SLOs must be positive, got {self.slo_s}")


def with_slo_mix(workload: Workload, mix_of: Mapping[str, SloMix], seed: int) -> Workload:
    """The same requests with SLOs drawn from their models' mixes; a model without one keeps its own.

    Raises: InvalidWorkload for a mix of a model that the workload does not have.
    """
    strangers = [name for name in mix_of if name not in workload.names]
    if strangers:
        raise InvalidWorkload(f"no request of model {strangers[0]!r} to give SLOs to")
    drawn = np.random.default_rng(seed).random(len(workload))
    slo_s = workload.slo_s.copy()
    for name, mix in mix_of.items():
        own = np.flatnonzero(workload.model == workload.names.index(name))
        bounds = np.cumsum(mix.share)
        if bounds[-1] > 1 - _ROUNDING:
            bounds[-1] = 1.0
        choice = np.searchsorted(bounds, drawn[own], side="right")
        chosen = choice < len(bounds)
        slo_s[own[chosen]] = np.array(mix.slo_s)[choice[chosen]]
    return replace(workload, slo_s=slo_s)
