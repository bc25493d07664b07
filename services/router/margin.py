"""By how much deadlines are brought forward for a model whose answers come late.

A full group admits to the very edge of a deadline; whatever the way back takes beyond what the profile counts as
overhead then makes the answer late. Every late answer adds a little, time takes it away again.
"""

from math import exp

STEP_SHARE = 0.02
MOST_SHARE = 0.25
MEMORY_S = 5.0


class Margin:
    """Of one model, in seconds."""

    def __init__(self) -> None:
        self._margin_s = 0.0
        self._noted_s = 0.0

    def note_late(self, allowed_s: float, now_s: float) -> None:
        """An admitted request with so much time was not answered in it."""
        faded_s = self._faded(now_s)
        self._margin_s = max(faded_s, min(faded_s + STEP_SHARE * allowed_s, MOST_SHARE * allowed_s))
        self._noted_s = now_s

    def of(self, allowed_s: float, now_s: float) -> float:
        """What to take off a request's time; never more than a quarter of it."""
        return min(self._faded(now_s), MOST_SHARE * allowed_s) if self._margin_s else 0.0

    def _faded(self, now_s: float) -> float:
        return self._margin_s * exp((self._noted_s - now_s) / MEMORY_S)
