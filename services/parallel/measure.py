"""Stage latencies of a loaded model, measured on the executor that serves it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.core.errors import InvalidArgument
from services.parallel.model import Inputs
from services.parallel.pipeline import JaxPipeline

# Requests come after pauses, in which caches and clocks of the host wind down.
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Measurement:
    """Medians, in seconds.

    A stage's latency is the time it is occupied: the move of its input and the run. `border_s`
    is the part of it that moving between two stages takes; 0 with one stage.
    """

    stage_latency_s: tuple[float, ...]
    border_s: float


def measure(pipeline: JaxPipeline, name: str, batch: Sequence[Inputs], warmup: int, repeats: int) -> Measurement:
    """Run one batch `warmup + repeats` times, stage after stage, and time the repeats.

    Raises:
        InvalidArgument: no repeats.
        InvalidInput: the model does not take these inputs.
    """
    if warmup < 0 or repeats < 1:
        raise InvalidArgument(f"warmup {warmup} and repeats {repeats} leave nothing to measure")
    prepared = pipeline.prepare_batch(name, batch)
    runs = np.array([_timed_run(pipeline, name, prepared) for _ in range(warmup + repeats)])[warmup:]
    moves_s, totals_s = runs[:, 0, :], runs[:, 1, :]
    borders_s = moves_s[:, 1:]
    return Measurement(
        stage_latency_s=tuple(np.median(totals_s, axis=0).tolist()),
        border_s=float(np.median(borders_s)) if borders_s.size else 0.0,
    )


def _timed_run(pipeline: JaxPipeline, name: str, activation: object) -> tuple[list[float], list[float]]:
    time.sleep(PAUSE_S)
    moves_s, totals_s = [], []
    for stage in range(pipeline.inter_op):
        started_s = time.perf_counter()
        placed = pipeline.place(name, stage, activation)
        placed_s = time.perf_counter()
        activation = pipeline.run_stage(name, stage, placed)
        moves_s.append(placed_s - started_s)
        totals_s.append(time.perf_counter() - started_s)
    return moves_s, totals_s
