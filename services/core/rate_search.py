"""Which scale of a load to try next, on the way to the highest that attains a target: doubled or halved until it
is bracketed, then bisected, geometrically, until the bracket is narrow."""

import math
from dataclasses import dataclass

from services.core.errors import InvalidArgument

_MOST_SCALE = 1024.0
_LEAST_SCALE = 1 / 64


@dataclass(slots=True)
class RateSearch:
    """`low` attained the target, `high` did not; 0 and infinite while there is none.

    Raises: InvalidArgument for a tolerance or a first scale that is none.
    """

    tolerance: float
    first: float = 1.0
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.tolerance <= 1:
            raise InvalidArgument(f"a tolerance must be above 0 and at most 1, got {self.tolerance!r}")
        if not _LEAST_SCALE <= self.first <= _MOST_SCALE:
            raise InvalidArgument(f"a scale must be from {_LEAST_SCALE} to {_MOST_SCALE:g}, got {self.first!r}")

    @property
    def next(self) -> float | None:
        """The scale to try; None when the bracket is as narrow as asked, or ends where scales do."""
        if self.low == 0 and math.isinf(self.high):
            return self.first
        if self.low == 0:
            return self.high / 2 if self.high / 2 >= _LEAST_SCALE else None
        if math.isinf(self.high):
            return self.low * 2 if self.low * 2 <= _MOST_SCALE else None
        return math.sqrt(self.low * self.high) if self.high > self.low * (1 + self.tolerance) else None

    def note(self, scale: float, attains: bool) -> None:
        """What became of a try."""
        if attains:
            self.low = max(self.low, scale)
        else:
            self.high = min(self.high, scale)
