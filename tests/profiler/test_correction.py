"""Estimates are brought to the level of the nearest measurement, and say how far off the cost model is."""

from dataclasses import replace

import pytest

from services.core.profile import ParallelConfig, StageProfile
from services.profiler.correction import UNCHECKED, Comparison, corrected


def entry(inter_op: int, intra_op: int, latency_s: float, batch_size: int = 1) -> StageProfile:
    stages_s = (latency_s / inter_op,) * inter_op
    return StageProfile(ParallelConfig(inter_op, intra_op), batch_size, stages_s, (10,) * inter_op)


def compared(inter_op: int, intra_op: int, ratio: float, batch_size: int = 1) -> Comparison:
    """Measured is `ratio` times the estimate."""
    return Comparison(entry(inter_op, intra_op, 2.0 * ratio, batch_size), entry(inter_op, intra_op, 2.0, batch_size))


MEASURED = (compared(1, 1, 1.25), compared(1, 2, 2.0), compared(2, 1, 0.5), compared(1, 1, 4.0, batch_size=8))


@pytest.mark.parametrize(
    ("estimate", "ratio", "nearest"),
    [
        (entry(1, 4, 1.0), 2.0, "1x2 batch 1"),
        (entry(8, 1, 1.0), 0.5, "2x1 batch 1"),
        (entry(1, 1, 1.0, batch_size=16), 4.0, "1x1 batch 8"),
        (entry(2, 2, 1.0), 2.0, "1x2 batch 1"),
    ],
)
def test_an_estimate_takes_the_ratio_of_the_nearest_measurement(
    estimate: StageProfile, ratio: float, nearest: str
) -> None:
    found = corrected(estimate, MEASURED)

    assert found.stage_latency_s == tuple(ratio * latency_s for latency_s in estimate.stage_latency_s)
    assert found.stage_weight_bytes == estimate.stage_weight_bytes
    assert f"times {ratio:.3f}: measured over estimated at {nearest}" in found.note


def test_the_note_tells_the_median_error_over_all_that_was_measured() -> None:
    found = corrected(entry(4, 1, 1.0), MEASURED)

    # |1/ratio - 1|: 0.2, 0.5, 1.0, 0.75
    assert "its median error over the 4 measured entries of the model is 62.5%" in found.note


def test_without_a_measurement_the_estimate_stays_and_says_so() -> None:
    estimate = replace(entry(4, 1, 1.0), note="far")

    assert corrected(estimate, ()) == replace(estimate, note=f"{UNCHECKED}; far")
