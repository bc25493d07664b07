"""Stage latencies of a loaded model, measured on the executor that serves it and the way it is served: prepared and
collected on the event loop, each stage on its own thread, after a pause.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from services.core.errors import InvalidArgument
from services.parallel.model import Inputs, Outputs
from services.parallel.pipeline import JaxPipeline
from services.parallel.stage_threads import StageThreads

# Requests come after pauses, in which caches and clocks of the host wind down.
PAUSE_S = 0.05


async def measure(
    pipeline: JaxPipeline, threads: StageThreads, name: str, batch: Sequence[Inputs], repeats: tuple[int, int]
) -> tuple[float, ...]:
    """Run one batch stage after stage, `repeats` = (warm-ups, timed runs) times: median seconds of each stage.

    A stage's latency is the time it is occupied as the event loop sees it: the hand-over to its thread, the move of
    its input, the run, and the way back.

    Raises:
        InvalidArgument: no timed runs.
        InvalidInput: the model does not take these inputs.
    """
    num_warmups, num_timed = repeats
    if num_warmups < 0 or num_timed < 1:
        raise InvalidArgument(f"{num_warmups} warm-ups and {num_timed} timed runs leave nothing to measure")
    runs_s = []
    for _ in range(num_warmups + num_timed):
        await asyncio.sleep(PAUSE_S)
        _, stages_s = await timed_run(pipeline, threads, name, batch)
        runs_s.append(stages_s)
    return tuple(statistics.median(stage_s) for stage_s in zip(*runs_s[num_warmups:], strict=True))


async def timed_run(
    pipeline: JaxPipeline, threads: StageThreads, name: str, batch: Sequence[Inputs]
) -> tuple[list[Outputs], list[float]]:
    """The outputs of each member of a batch, and the seconds of each stage."""
    activation: Any = tuple(pipeline.prepare(name, inputs) for inputs in batch)
    stages_s = []
    for stage in range(pipeline.inter_op):
        began_s = time.perf_counter()
        activation = await threads.run_stage(name, stage, activation)
        stages_s.append(time.perf_counter() - began_s)
    return pipeline.collect(name, activation), stages_s
