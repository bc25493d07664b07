"""Virtual devices: each stage is busy for the profiled time and computes nothing.

A virtual device takes its next batch where the last one ended, on its own timeline, so that late
timers of the host do not add up. Outputs are the inputs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from services.core.signature import Signature
from services.worker.leader.executor import Replica, Tensors


@dataclass(frozen=True, slots=True)
class Emulation:
    """A batch on its way: when the last stage (or the last client) let go of it, in monotonic seconds."""

    tensors: tuple[Tensors, ...]
    ready_s: float


class EmulatedExecutor:
    """`inter_op` virtual stages."""

    def __init__(self, inter_op: int) -> None:
        self._free_at = [0.0] * inter_op
        self._latency_s: dict[str, dict[int, tuple[float, ...]]] = {}

    async def load(self, replica: Replica) -> Sequence[int]:
        """Batches on their way may be of a size that is not to be formed any more."""
        known = self._latency_s.setdefault(replica.model.name, {})
        known.update({size: replica.batch_latency_s(size) for size in replica.batch_sizes})
        return replica.batch_sizes

    async def unload(self, model: str) -> None:
        del self._latency_s[model]

    def signature(self, model: str) -> Signature | None:
        return None

    def prepare(self, model: str, inputs: Tensors) -> Emulation:
        return Emulation((inputs,), monotonic())

    async def run_stage(self, model: str, stage: int, activation: Emulation | tuple[Emulation, ...]) -> Emulation:
        batch = _joined(activation) if isinstance(activation, tuple) else activation
        latency_s = self._latency_s[model][len(batch.tensors)]
        end_s = max(batch.ready_s, self._free_at[stage]) + latency_s[stage]
        self._free_at[stage] = end_s
        # A loop that counts time in milliseconds may wake more than one of them early.
        for _ in range(2):
            if (left_s := end_s - monotonic()) > 0:
                await asyncio.sleep(left_s)
        return Emulation(batch.tensors, end_s)

    def collect(self, model: str, activation: Emulation) -> Sequence[Tensors]:
        return activation.tensors

    def close(self) -> None:
        self._latency_s.clear()


def _joined(members: tuple[Emulation, ...]) -> Emulation:
    tensors = tuple(tensors for member in members for tensors in member.tensors)
    return Emulation(tensors, max(member.ready_s for member in members))
