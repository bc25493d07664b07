"""Measured stage latencies."""

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.errors import InvalidArgument
from services.core.model import ModelSource
from services.parallel.measure import measure
from services.parallel.pipeline import JaxPipeline


@pytest.mark.parametrize("inter_op", [1, 2])
def test_every_stage_and_the_border_between_stages_are_timed(
    inter_op: int, tiny_source: ModelSource, tiny_inputs: dict[str, NDArray[np.int64]]
) -> None:
    pipeline = JaxPipeline(inter_op=inter_op, intra_op=1)
    pipeline.load("m", tiny_source)

    measured = measure(pipeline, "m", [tiny_inputs], warmup=1, repeats=3)

    assert len(measured.stage_latency_s) == inter_op
    assert all(0 < latency_s < 1 for latency_s in measured.stage_latency_s)
    assert (measured.border_s > 0) == (inter_op > 1)


@pytest.mark.parametrize(("warmup", "repeats"), [(-1, 3), (1, 0)])
def test_a_measurement_of_nothing_is_refused(
    warmup: int, repeats: int, tiny_source: ModelSource, tiny_inputs: dict[str, NDArray[np.int64]]
) -> None:
    with pytest.raises(InvalidArgument, match="nothing to measure"):
        measure(JaxPipeline(inter_op=1, intra_op=1), "m", [tiny_inputs], warmup=warmup, repeats=repeats)
