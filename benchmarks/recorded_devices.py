"""Emulated devices that write down which requests they begin, as soon as they do: what ran twice shows, whoever was
killed."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from services.core.profile import ParallelConfig
from services.worker.actors import LeaderActor
from services.worker.leader.emulated import EmulatedExecutor, Emulation
from services.worker.leader.executor import Executor
from services.worker.leader.process import LeaderProcess
from services.worker.settings import WorkerSettings

RECORD = "BENCHMARK_RECORD"


class RecordingDevices(EmulatedExecutor):
    """Requests are known by the number that they carry as input `x`."""

    def __init__(self, inter_op: int, path: str) -> None:
        super().__init__(inter_op)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def run_stage(self, model: str, stage: int, activation: Emulation | tuple[Emulation, ...]) -> Emulation:
        if isinstance(activation, tuple):
            numbers = [int(tensors["x"][0]) for member in activation for tensors in member.tensors]
            os.write(self._file, "".join(f"{number}\n" for number in numbers).encode())
        return await super().run_stage(model, stage, activation)


class RecordingProcess(LeaderProcess):
    """Its record is the file that the environment names."""

    def _executor(self, config: ParallelConfig) -> Executor:
        return RecordingDevices(config.inter_op, os.environ[RECORD])


class RecordingActor(LeaderActor):
    """A leader with such devices."""

    def __init__(self, settings: WorkerSettings, local_devices: Sequence[int]) -> None:
        super().__init__(settings, local_devices, RecordingProcess)


def num_runs(record: Path) -> Counter[int]:
    """How often each request was begun."""
    return Counter(int(line) for line in record.read_text().splitlines()) if record.exists() else Counter()
