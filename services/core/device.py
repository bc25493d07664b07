"""What a kind of device costs: compute, memory and the ways between devices (Alpa, section 4.2).

Communication is alpha-beta: a latency and a bandwidth for each collective.
"""

import math
from dataclasses import dataclass

from services.core.errors import InvalidProfile


@dataclass(frozen=True, slots=True)
class Link:
    """One way of moving bytes: `latency_s` each time, and `bytes_per_s` from then on."""

    latency_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise InvalidProfile(f"latency_s must be finite and not negative, got {self.latency_s!r}")
        if not self.bytes_per_s > 0:
            raise InvalidProfile(f"bytes_per_s must be positive, got {self.bytes_per_s!r}")

    def seconds(self, num_bytes: float) -> float:
        return self.latency_s + num_bytes / self.bytes_per_s


@dataclass(frozen=True, slots=True)
class DeviceCosts:
    """Seconds follow from these: an operator takes as long as its floating-point operations or its memory
    traffic, whichever is slower, and never less than `operator_s`; `border` carries an activation from one
    stage to the next. Bandwidths of collectives are those of the formulas below."""

    flops_per_s: float
    bytes_per_s: float
    operator_s: float
    all_reduce: Link
    all_gather: Link
    reduce_scatter: Link
    all_to_all: Link
    border: Link

    def __post_init__(self) -> None:
        for name in ("flops_per_s", "bytes_per_s"):
            if not getattr(self, name) > 0:
                raise InvalidProfile(f"{name} must be positive, got {getattr(self, name)!r}")
        if not (math.isfinite(self.operator_s) and self.operator_s >= 0):
            raise InvalidProfile(f"operator_s must be finite and not negative, got {self.operator_s!r}")

    def compute_s(self, flops: float, num_bytes: float) -> float:
        """One operator on one device; `num_bytes` are read and written."""
        return max(self.operator_s, flops / self.flops_per_s, num_bytes / self.bytes_per_s)

    def all_reduce_s(self, num_bytes: float, num_devices: int) -> float:
        """Sum tensors of `num_bytes` that each device holds a part of the sum of."""
        return self.all_reduce.seconds(2 * (num_devices - 1) / num_devices * num_bytes)

    def all_gather_s(self, num_bytes: float, num_devices: int) -> float:
        """Make a split tensor of `num_bytes` in all whole on every device."""
        return self.all_gather.seconds((num_devices - 1) / num_devices * num_bytes)

    def reduce_scatter_s(self, num_bytes: float, num_devices: int) -> float:
        """As `all_reduce_s`, but each device keeps a part of the sum."""
        return self.reduce_scatter.seconds((num_devices - 1) / num_devices * num_bytes)

    def all_to_all_s(self, num_bytes: float, num_devices: int) -> float:
        """Split a tensor of `num_bytes` in all along another axis than before."""
        return self.all_to_all.seconds((num_devices - 1) / num_devices**2 * num_bytes)
