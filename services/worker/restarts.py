"""How often a process that ends unasked is started again, and after what pause."""

from collections.abc import Sequence

PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0)
STEADY_S = 30.0


class Restarts:
    """Those of one process in a row. The first comes at once, the pauses grow, and after the last one the
    process is given up; one that lived for `steady_s` begins the row anew."""

    def __init__(self, pauses_s: Sequence[float] = PAUSES_S, steady_s: float = STEADY_S) -> None:
        self._pauses_s = pauses_s
        self._steady_s = steady_s
        self._num_in_row = 0

    def pause_s(self, lived_s: float) -> float | None:
        """Seconds until the next start of a process that lived for `lived_s` (0: its start failed); None
        gives it up."""
        if lived_s >= self._steady_s:
            self._num_in_row = 0
        if self._num_in_row == len(self._pauses_s):
            return None
        self._num_in_row += 1
        return self._pauses_s[self._num_in_row - 1]
