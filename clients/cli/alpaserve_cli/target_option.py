"""Targets, as they are written on the command line."""

import math

from services.core.errors import InvalidArgument


def check_target(target: float) -> None:
    """Raises: InvalidArgument."""
    if not (math.isfinite(target) and 0 < target <= 1):
        raise InvalidArgument(f"--target must be above 0 and at most 1, got {target!r}")
