"""One config of one model, loaded and measured. Runs on the bench: it imports JAX."""

import statistics

import jax

from services.core.profile import StageProfile
from services.parallel.measure import measure, timed_run
from services.parallel.pipeline import JaxPipeline
from services.parallel.stage_threads import StageThreads
from services.profiler.bench import Trial
from services.profiler.estimator import check_memory
from services.profiler.path import Tensors

NAME = "measured"


class Loaded:
    """A model on the devices, until it is closed."""

    def __init__(self, trial: Trial, cache_dir: str) -> None:
        """Raises: InvalidModel, InvalidArgument; DoesNotFit if what the programs need is too much."""
        config = trial.config
        self.trial = trial
        self.pipeline = JaxPipeline(inter_op=config.inter_op, intra_op=config.intra_op, cache_dir=cache_dir or None)
        self.threads = StageThreads(self.pipeline)
        self._served_s: list[list[float]] = []
        self._loaded = self.pipeline.load(NAME, trial.source, trial.boundaries, trial.batch_sizes, trial.costs)

    async def run(self, inputs: Tensors) -> tuple[Tensors, float]:
        """Serve one request: its outputs, and the seconds it spent in stages."""
        (outputs,), stages_s = await timed_run(self.pipeline, self.threads, NAME, [inputs])
        self._served_s.append(stages_s)
        return outputs, sum(stages_s)

    async def stage_profile(self, batch_size: int, repeats: tuple[int, int]) -> StageProfile:
        """Raises: DoesNotFit if weights and activations exceed the memory."""
        loaded, trial = self._loaded, self.trial
        activations = loaded.stage_activation_bytes[batch_size]
        check_memory(loaded.stage_weight_bytes, activations, trial.memory_bytes)
        return StageProfile(
            config=trial.config,
            batch_size=batch_size,
            stage_latency_s=await self._stage_latency_s(batch_size, repeats),
            stage_weight_bytes=loaded.stage_weight_bytes,
            stage_activation_bytes=activations,
            note=f"median of {repeats[1]} runs; jax {jax.__version__}",
            boundaries=loaded.boundaries,
        )

    async def _stage_latency_s(self, batch_size: int, repeats: tuple[int, int]) -> tuple[float, ...]:
        """Medians; of single requests, of the last that were served."""
        served_s = self._served_s[-repeats[1] :]
        if batch_size == 1 and len(served_s) == repeats[1]:
            return tuple(statistics.median(stage_s) for stage_s in zip(*served_s, strict=True))
        batch = [self.pipeline.example(NAME)] * batch_size
        return await measure(self.pipeline, self.threads, NAME, batch, repeats)

    def close(self) -> None:
        self.pipeline.unload(NAME)
        self.threads.close()
