"""Real devices: a JAX pipeline with one thread per stage, so that stages overlap."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from services.core.errors import InvalidModel
from services.core.profile import ParallelConfig
from services.parallel.pipeline import JaxPipeline
from services.worker.leader.executor import Replica, Tensors


class JaxExecutor:
    """The stages of one group, in this process."""

    def __init__(self, config: ParallelConfig, cache_dir: str) -> None:
        self._pipeline = JaxPipeline(inter_op=config.inter_op, intra_op=config.intra_op, cache_dir=cache_dir or None)
        self._stages = [ThreadPoolExecutor(1, f"stage-{stage}") for stage in range(config.inter_op)]
        self._loader = ThreadPoolExecutor(1, "loader")

    async def load(self, replica: Replica) -> None:
        model = replica.model
        if model.source is None:
            raise InvalidModel(f"model {model.name!r} has no source: only emulated devices can serve it")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._loader, self._pipeline.load, model.name, model.source)

    async def unload(self, model: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._loader, self._pipeline.unload, model)

    def prepare(self, model: str, inputs: Tensors) -> Any:
        return self._pipeline.prepare(model, inputs)

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._stages[stage], self._pipeline.run_stage, model, stage, activation)

    def collect(self, model: str, activation: Any) -> Tensors:
        return self._pipeline.collect(model, activation)

    def close(self) -> None:
        for threads in (*self._stages, self._loader):
            threads.shutdown(wait=False, cancel_futures=True)
