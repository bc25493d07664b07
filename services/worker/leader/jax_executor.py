"""Real devices: a JAX pipeline whose stages run beside the event loop, and so does what it loads."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog

from services.core.errors import InvalidModel
from services.core.profile import ParallelConfig
from services.parallel.pipeline import JaxPipeline
from services.parallel.stage_threads import StageThreads
from services.worker.leader.executor import Replica, Tensors

log = structlog.get_logger()


class JaxExecutor:
    """The stages of one group, in this process."""

    def __init__(self, config: ParallelConfig, cache_dir: str) -> None:
        self._pipeline = JaxPipeline(inter_op=config.inter_op, intra_op=config.intra_op, cache_dir=cache_dir or None)
        self._stages = StageThreads(self._pipeline)
        self._loader = ThreadPoolExecutor(1, "loader")
        self._cuts: dict[str, tuple[int, ...]] = {}

    async def load(self, replica: Replica) -> Sequence[int]:
        model = replica.model
        if model.source is None:
            raise InvalidModel(f"model {model.name!r} has no source: only emulated devices can serve it")
        load = partial(
            self._pipeline.load,
            model.name,
            model.source,
            boundaries=self._boundaries(replica),
            batch_sizes=replica.batch_sizes,
            costs=replica.device_costs,
        )
        loaded = await asyncio.get_running_loop().run_in_executor(self._loader, load)
        if model.name not in self._cuts:
            await self._rehearse(model.name)
        self._cuts[model.name] = loaded.boundaries
        return sorted(loaded.stage_activation_bytes)

    async def unload(self, model: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._loader, self._pipeline.unload, model)
        self._cuts.pop(model, None)

    def prepare(self, model: str, inputs: Tensors) -> Any:
        return self._pipeline.prepare(model, inputs)

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        return await self._stages.run_stage(model, stage, activation)

    def collect(self, model: str, activation: Any) -> Sequence[Tensors]:
        return self._pipeline.collect(model, activation)

    def close(self) -> None:
        self._stages.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _rehearse(self, model: str) -> None:
        """Serve an example, from input to output: programs that ran once still leave a first request a quarter slower
        than later ones."""
        activation: Any = [self.prepare(model, self._pipeline.example(model))]
        for stage in range(self._pipeline.inter_op):
            activation = await self.run_stage(model, stage, activation)
        self.collect(model, activation)

    def _boundaries(self, replica: Replica) -> tuple[int, ...] | None:
        """The cut to load with. A model that is loaded keeps its own, also if it was profiled with another."""
        loaded = self._cuts.get(replica.model.name)
        if loaded is not None and replica.boundaries not in ((), loaded):
            log.warning("cut_kept", model=replica.model.name, loaded=loaded, profiled=replica.boundaries)
        return loaded or replica.boundaries or None
