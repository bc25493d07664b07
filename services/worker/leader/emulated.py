"""Virtual devices: each stage is busy for the profiled time and computes nothing.

A virtual device takes its next request where the last one ended, on its own timeline, so that late
timers of the host do not add up. Outputs are the inputs.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic

from services.worker.leader.executor import Replica, Tensors


@dataclass(frozen=True, slots=True)
class Emulation:
    """A request on its way: when the last stage (or the client) let go of it, in monotonic seconds."""

    tensors: Tensors
    ready_s: float


class EmulatedExecutor:
    """`inter_op` virtual stages."""

    def __init__(self, inter_op: int) -> None:
        self._free_at = [0.0] * inter_op
        self._latency_s: dict[str, tuple[float, ...]] = {}

    async def load(self, replica: Replica) -> None:
        self._latency_s[replica.model.name] = replica.stage_latency_s

    async def unload(self, model: str) -> None:
        del self._latency_s[model]

    def prepare(self, model: str, inputs: Tensors) -> Emulation:
        return Emulation(inputs, monotonic())

    async def run_stage(self, model: str, stage: int, activation: Emulation) -> Emulation:
        end_s = max(activation.ready_s, self._free_at[stage]) + self._latency_s[model][stage]
        self._free_at[stage] = end_s
        await asyncio.sleep(end_s - monotonic())
        return Emulation(activation.tensors, end_s)

    def collect(self, model: str, activation: Emulation) -> Tensors:
        return activation.tensors

    def close(self) -> None:
        self._latency_s.clear()
