"""Measured stage latencies."""

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.errors import InvalidArgument
from services.core.model import ModelSource
from services.parallel.measure import measure, timed_run
from services.parallel.pipeline import JaxPipeline
from services.parallel.stage_threads import StageThreads


@pytest.mark.parametrize("inter_op", [1, 2])
async def test_every_stage_is_timed(
    inter_op: int, tiny_source: ModelSource, tiny_inputs: dict[str, NDArray[np.int64]]
) -> None:
    pipeline = JaxPipeline(inter_op=inter_op, intra_op=1)
    pipeline.load("m", tiny_source)

    threads = StageThreads(pipeline)

    stage_latency_s = await measure(pipeline, threads, "m", [tiny_inputs], (1, 3))

    assert len(stage_latency_s) == inter_op
    assert all(0 < latency_s < 1 for latency_s in stage_latency_s)


async def test_a_timed_batch_answers_each_of_its_members(
    tiny_source: ModelSource, tiny_inputs: dict[str, NDArray[np.int64]]
) -> None:
    pipeline = JaxPipeline(inter_op=2, intra_op=1)
    pipeline.load("m", tiny_source, batch_sizes=(1, 2))
    threads = StageThreads(pipeline)
    other = {"input_ids": tiny_inputs["input_ids"][::-1]}

    (alone,), stages_s = await timed_run(pipeline, threads, "m", [tiny_inputs])
    first, second = (await timed_run(pipeline, threads, "m", [tiny_inputs, other]))[0]

    assert len(stages_s) == 2
    for name, output in alone.items():
        np.testing.assert_allclose(first[name], output, rtol=1e-4, atol=1e-5)
    assert any(not np.allclose(first[name], second[name]) for name in first)


@pytest.mark.parametrize("repeats", [(-1, 3), (1, 0)])
async def test_a_measurement_of_nothing_is_refused(
    repeats: tuple[int, int], tiny_source: ModelSource, tiny_inputs: dict[str, NDArray[np.int64]]
) -> None:
    pipeline = JaxPipeline(inter_op=1, intra_op=1)
    with pytest.raises(InvalidArgument, match="nothing to measure"):
        await measure(pipeline, StageThreads(pipeline), "m", [tiny_inputs], repeats)
