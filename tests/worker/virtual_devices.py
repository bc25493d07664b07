"""Devices on a clock that a test turns: stages take exactly what was profiled, and nothing takes real time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.leaders import execute
from services.core.signature import Signature
from services.worker.leader.executor import Replica, Tensors
from services.worker.leader.flight import Outcome
from services.worker.leader.group import GroupLeader
from tests.worker.stepped_executor import settled


@dataclass
class VirtualDevices:
    """The executor of one group. `finish_s` is when each request left the last stage, by its tag."""

    num_stages: int
    now_s: float = 0.0
    finish_s: dict[int, float] = field(default_factory=dict)
    batches: list[tuple[int, ...]] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    _replicas: dict[str, Replica] = field(default_factory=dict)
    _running: dict[int, tuple[float, asyncio.Future[None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.busy_s = [0.0] * self.num_stages

    def clock(self) -> float:
        return self.now_s

    async def until(self, now_s: float) -> None:
        """Let all that ends by then end, the earliest first."""
        while self._running:
            stage = min(self._running, key=lambda stage: self._running[stage][0])
            if self._running[stage][0] > now_s:
                break
            self.now_s, ended = self._running.pop(stage)
            ended.set_result(None)
            await settled()
        self.now_s = max(self.now_s, now_s)

    async def load(self, replica: Replica) -> Sequence[int]:
        self._replicas[replica.model.name] = replica
        return replica.batch_sizes

    def signature(self, model: str) -> Signature | None:
        return None

    async def unload(self, model: str) -> None:
        del self._replicas[model]

    def prepare(self, model: str, inputs: Tensors) -> int:
        return int(inputs["tag"])

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        if stage == 0:
            self.batches.append(activation)
        latency_s = self._replicas[model].batch_latency_s(len(activation))[stage]
        self.busy_s[stage] += latency_s
        ended = asyncio.get_running_loop().create_future()
        self._running[stage] = self.now_s + latency_s, ended
        await ended
        if stage + 1 == self.num_stages:
            self.finish_s |= dict.fromkeys(activation, self.now_s)
        return activation

    def collect(self, model: str, activation: Any) -> Sequence[Tensors]:
        return [{}] * len(activation)

    def close(self) -> None:
        self._replicas.clear()


@dataclass
class VirtualGroup:
    """A real leader over virtual devices."""

    leader: GroupLeader
    devices: VirtualDevices
    asked: dict[int, asyncio.Task[Outcome]] = field(default_factory=dict)

    async def ask(self, tag: int, model: str, arrival_s: float, allowed_s: float) -> None:
        """Let time go on until a request arrives, and the leader decide on it."""
        await self.devices.until(arrival_s)
        inputs: Any = {"tag": tag}
        self.asked[tag] = asyncio.create_task(execute(self.leader, model, inputs, allowed_s))
        await settled()


@asynccontextmanager
async def virtual_group(num_stages: int, replicas: Sequence[Replica]) -> AsyncIterator[VirtualGroup]:
    devices = VirtualDevices(num_stages)
    async with GroupLeader("g1", num_stages, devices, queue_limit=10_000, clock=devices.clock) as leader:
        for replica in replicas:
            await leader.load(replica)
        yield VirtualGroup(leader, devices)
