"""The JAX executor, with a record of when each stage got its activation and when it was done."""

from dataclasses import dataclass
from time import monotonic
from typing import Any

from services.core.profile import ParallelConfig
from services.parallel.pipeline import JaxPipeline
from services.parallel.stage_threads import StageThreads
from services.worker.leader.jax_executor import JaxExecutor


@dataclass(frozen=True, slots=True)
class RunStage:
    """One stage's run: on its thread, with the activation on its devices, and over."""

    stage: int
    began_s: float
    moved_s: float
    ended_s: float


class RecordingPipeline(JaxPipeline):
    """Notes every run of a stage."""

    def __init__(self, config: ParallelConfig, stages: list[RunStage]) -> None:
        super().__init__(inter_op=config.inter_op, intra_op=config.intra_op)
        self._recorded = stages

    def run_stage(self, name: str, stage: int, activation: Any) -> Any:
        began_s = monotonic()
        placed = self.place(name, stage, activation)
        moved_s = monotonic()
        result = super().run_stage(name, stage, placed)
        self._recorded.append(RunStage(stage, began_s, moved_s, monotonic()))
        return result


class RecordingExecutor(JaxExecutor):
    """The executor over such a pipeline."""

    def __init__(self, config: ParallelConfig, stages: list[RunStage]) -> None:
        super().__init__(config, "")
        self._pipeline = RecordingPipeline(config, stages)
        self._stages = StageThreads(self._pipeline)


def recording_executor(config: ParallelConfig) -> tuple[JaxExecutor, list[RunStage]]:
    stages: list[RunStage] = []
    return RecordingExecutor(config, stages), stages
