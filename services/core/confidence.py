"""How sure a measured share is: Wilson's interval, for requests that fail together as well as alone.

Requests that are late come in bursts, so a share of n requests is less certain than n coin tosses are. How much
less is estimated from batches (batch means, the design effect of survey sampling).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of a normal variable, 95 % lie so many standard deviations around its mean.
Z_95 = 1.959964
_NUM_BATCHES = 20


@dataclass(frozen=True, slots=True)
class Interval:
    """What a share lies within, with 95 % confidence."""

    low: float
    high: float


def wilson(num_attained: float, num_requests: float, z: float = Z_95) -> Interval:
    """The score interval of `num_attained` in `num_requests`; everything, without requests."""
    if num_requests <= 0:
        return Interval(0.0, 1.0)
    share = num_attained / num_requests
    spread = z * math.sqrt(share * (1 - share) / num_requests + z**2 / (4 * num_requests**2))
    center, scale = share + z**2 / (2 * num_requests), 1 + z**2 / num_requests
    low, high = (center - spread) / scale, (center + spread) / scale
    # In exact arithmetic they include the share itself.
    return Interval(max(0.0, min(low, share)), min(1.0, max(high, share)))


def design_effect(attained: NDArray[np.bool_]) -> float:
    """How many of these requests (num_requests,), in order of arrival, say as much as one independent one would:
    the variance of the shares of 20 batches over what independent requests would have, at least 1."""
    size = len(attained) // _NUM_BATCHES
    share = float(attained.mean()) if len(attained) else 0.0
    if size < 2 or share in (0.0, 1.0):
        return 1.0
    batches = attained[: size * _NUM_BATCHES].reshape(_NUM_BATCHES, size).mean(axis=1)
    return max(1.0, float(batches.var(ddof=1)) * size / (share * (1 - share)))


def attainment_interval(attained: NDArray[np.bool_]) -> Interval:
    """Where the attainment of such traffic lies, from requests (num_requests,) in order of arrival."""
    effect = design_effect(attained)
    return wilson(np.count_nonzero(attained) / effect, len(attained) / effect)
