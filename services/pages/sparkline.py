"""Counts of the last seconds as a small line."""

from collections.abc import Sequence

WIDTH, HEIGHT = 120.0, 24.0


def sparkline(counts: Sequence[int]) -> str:
    """Points of a polyline in a box of WIDTH by HEIGHT; the tallest count touches the top."""
    most = max(max(counts, default=0), 1)
    step = WIDTH / max(len(counts) - 1, 1)
    return " ".join(f"{n * step:.1f},{HEIGHT - 2 - count / most * (HEIGHT - 4):.1f}" for n, count in enumerate(counts))
