"""Real devices: a JAX pipeline whose stages run beside the event loop, and so does what it loads."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import structlog

from services.core.errors import AlpaServeError, DoesNotFit, InvalidModel
from services.core.model import ModelSource
from services.core.profile import ParallelConfig
from services.core.signature import Signature
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
        self._signatures: dict[str, Signature] = {}

    async def load(self, replica: Replica) -> Sequence[int]:
        model = replica.model
        if model.source is None:
            raise InvalidModel(f"model {model.name!r} has no source: only emulated devices can serve it")
        try:
            return await self._load(replica, model.source)
        except AlpaServeError:
            raise
        except Exception as error:
            log.exception("load_failed", model=model.name)
            kind = DoesNotFit if is_exhaustion(error) else InvalidModel
            raise kind(f"model {model.name!r} cannot be loaded: {type(error).__name__}: {error}") from error

    async def unload(self, model: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._loader, self._pipeline.unload, model)
        self._signatures.pop(model, None)

    def signature(self, model: str) -> Signature | None:
        return self._signatures.get(model)

    def prepare(self, model: str, inputs: Tensors) -> Any:
        return self._pipeline.prepare(model, inputs)

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        return await self._stages.run_stage(model, stage, activation)

    def collect(self, model: str, activation: Any) -> Sequence[Tensors]:
        return self._pipeline.collect(model, activation)

    def close(self) -> None:
        self._stages.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _load(self, replica: Replica, source: ModelSource) -> Sequence[int]:
        name = replica.model.name
        load = partial(
            self._pipeline.load,
            name,
            source,
            boundaries=replica.boundaries or None,
            batch_sizes=replica.batch_sizes,
            costs=replica.device_costs,
        )
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(self._loader, load)
            if name not in self._signatures:
                self._signatures[name] = await self._rehearse(name)
        except BaseException:
            if name not in self._signatures:
                await self.unload(name)
            raise
        return sorted(loaded.stage_activation_bytes)

    async def _rehearse(self, model: str) -> Signature:
        """Serve the longest and the shortest request, from input to output: they show what the model takes and gives,
        and programs that ran once still leave a first request a quarter slower than later ones."""
        longest, shortest = self._pipeline.extremes(model)
        runs = (longest, await self._answer(model, longest)), (shortest, await self._answer(model, shortest))
        return Signature.between(*runs, self._pipeline.example(model))

    async def _answer(self, model: str, inputs: Tensors) -> Tensors:
        activation: Any = [self.prepare(model, inputs)]
        for stage in range(self._pipeline.inter_op):
            activation = await self.run_stage(model, stage, activation)
        return self.collect(model, activation)[0]


def is_exhaustion(error: Exception) -> bool:
    """Whether the memory of a device, or of the host, was not enough."""
    is_device = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return is_device or isinstance(error, MemoryError)
