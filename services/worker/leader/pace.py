"""How much slower than profiled the stages of a group really run, of late.

Devices that are shared, throttled or wrongly profiled would otherwise be promised work that they
cannot do in time, and spend themselves on requests that end late.
"""

from math import exp

MEMORY_S = 2.0
# Profiled seconds that weigh against what was seen, so that a few slow runs, long ago, are forgotten.
PRIOR_S = 0.1
# Within a tenth the profile stands: that much is noise.
TOLERANCE = 1.1


class Pace:
    """Actual over profiled stage seconds, fading with time."""

    def __init__(self) -> None:
        self._actual_s = 0.0
        self._profiled_s = 0.0
        self._updated_s = 0.0

    def note(self, actual_s: float, profiled_s: float, now_s: float) -> None:
        """Take one run of a stage into account."""
        keep = self._faded(now_s)
        self._actual_s = self._actual_s * keep + actual_s
        self._profiled_s = self._profiled_s * keep + profiled_s
        self._updated_s = now_s

    def factor(self, now_s: float) -> float:
        """What to multiply profiled latencies by: at least 1."""
        keep = self._faded(now_s)
        ratio = (self._actual_s * keep + PRIOR_S) / (self._profiled_s * keep + PRIOR_S)
        return ratio if ratio > TOLERANCE else 1.0

    def _faded(self, now_s: float) -> float:
        return exp((self._updated_s - now_s) / MEMORY_S)
