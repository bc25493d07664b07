"""A thread for each stage of a pipeline, so that stages overlap and the event loop never waits for a device."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from services.parallel.pipeline import JaxPipeline


class StageThreads:
    """How the stages of a group are run, in serving and in profiling alike."""

    def __init__(self, pipeline: JaxPipeline) -> None:
        self._pipeline = pipeline
        self._threads = [ThreadPoolExecutor(1, f"stage-{stage}") for stage in range(pipeline.inter_op)]

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        """What the next stage takes, once this one is over. Stage 0 takes what the pipeline prepared of each member of
        a batch."""
        run = self._pipeline.run_stage if stage else self._run_first
        return await asyncio.get_running_loop().run_in_executor(self._threads[stage], run, model, stage, activation)

    def close(self) -> None:
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)

    def _run_first(self, model: str, stage: int, prepared: Sequence[Any]) -> Any:
        return self._pipeline.run_stage(model, stage, self._pipeline.join(prepared))
