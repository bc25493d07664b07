"""An executor whose stages end when a test says so, and the replicas that run on it."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.core.errors import InvalidInput
from services.core.model import RegisteredModel
from services.core.signature import Signature
from services.worker.leader.executor import Replica, Tensors


def replica(
    name: str,
    *stage_latency_s: float,
    weight_bytes: int = 1,
    overhead_s: float = 0.0,
    larger_batches: Mapping[int, tuple[float, ...]] | None = None,
) -> Replica:
    weights = (weight_bytes,) * len(stage_latency_s)
    return Replica(RegisteredModel(name, name), stage_latency_s, weights, overhead_s, larger_batches or {})


def tagged(tag: str) -> Tensors:
    """Inputs that the executor can tell apart."""
    return {"tag": np.array([ord(letter) for letter in tag])}


def tag_of(inputs: Tensors) -> str:
    return "".join(map(chr, inputs["tag"]))


@dataclass
class SteppedExecutor:
    """Notes which batch runs where, as its members' names joined by `+`. A request named `bad` is invalid,
    `bug` breaks `prepare`, `broken` a stage, `lost` the collection of its outputs, `short` loses the last
    of them. Without `ready_sizes` every batch size is ready. `collected` tells what ran meanwhile."""

    loaded: list[str] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    began: list[tuple[int, str]] = field(default_factory=list)
    running: dict[int, str] = field(default_factory=dict)
    collected: list[tuple[str, dict[int, str]]] = field(default_factory=list)
    ready_sizes: Sequence[int] | None = None
    signatures: dict[str, Signature] = field(default_factory=dict)
    is_closed: bool = False
    _ends: dict[int, asyncio.Queue[None]] = field(default_factory=lambda: defaultdict(asyncio.Queue))

    def finish(self, stage: int, times: int = 1) -> None:
        """Let the stage end what it runs, or will run next."""
        for _ in range(times):
            self._ends[stage].put_nowait(None)

    async def load(self, replica: Replica) -> Sequence[int]:
        self.loaded.append(replica.model.name)
        return replica.batch_sizes if self.ready_sizes is None else self.ready_sizes

    def signature(self, model: str) -> Signature | None:
        return self.signatures.get(model)

    async def unload(self, model: str) -> None:
        self.unloaded.append(model)

    def prepare(self, model: str, inputs: Tensors) -> str:
        tag = tag_of(inputs)
        if tag == "bad":
            raise InvalidInput("tag is 'bad'")
        if tag == "bug":
            raise ZeroDivisionError("a secret")
        return tag

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        batch = "+".join(activation) if stage == 0 else activation
        self.began.append((stage, batch))
        self.running[stage] = batch
        await self._ends[stage].get()
        del self.running[stage]
        if "broken" in batch:
            raise RuntimeError("a secret")
        return batch

    def collect(self, model: str, activation: Any) -> Sequence[Tensors]:
        self.collected.append((activation, dict(self.running)))
        tags = activation.split("+")
        if "lost" in tags:
            raise RuntimeError("a secret")
        return [tagged(tag) for tag in tags if tag != "short"]

    def close(self) -> None:
        self.is_closed = True


async def settled() -> None:
    """Every task that can go on without a timer has done so."""
    for _ in range(20):
        await asyncio.sleep(0)
