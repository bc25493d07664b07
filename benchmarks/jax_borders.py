"""What it costs a request to pass from one stage to the next, on a real model under a real leader.

The class is run as a Ray actor, as leaders are: JAX is imported there only, where it finds its devices.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.leaders import execute
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import ParallelConfig
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Served
from services.worker.leader.group import GroupLeader

NUM_LAYERS, HIDDEN_SIZE, SEQUENCE_LENGTH = 8, 256, 128
_CONFIG = {
    "model_type": "bert",
    "vocab_size": 1000,
    "hidden_size": HIDDEN_SIZE,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 4 * HIDDEN_SIZE,
    "max_position_embeddings": SEQUENCE_LENGTH,
    "type_vocab_size": 2,
}
_WARMUPS = 10


@dataclass(frozen=True, slots=True)
class Borders:
    """Medians in seconds: from one stage's end to where the next may begin, the move between the devices
    that is part of it, and what a stage itself takes."""

    border_s: float
    move_s: float
    stage_s: float


class BorderProbe:
    """A process that leads a group of its own."""

    async def ping(self) -> None:
        """What a Ray call costs that does nothing."""

    async def borders(self, num_stages: int, num_requests: int) -> Borders:
        """One request after the other through a pipeline of one device a stage."""
        from benchmarks.recorded_stages import recording_executor

        executor, stages = recording_executor(ParallelConfig(num_stages, 1))
        source = ModelSource(config=json.dumps(_CONFIG), sequence_length=SEQUENCE_LENGTH)
        latency_s = (0.01,) * num_stages
        replica = Replica(RegisteredModel("bert", "bert", source), latency_s, (1,) * num_stages)
        inputs: Any = {"input_ids": np.arange(SEQUENCE_LENGTH, dtype=np.int64)}
        async with GroupLeader("g", num_stages, executor, queue_limit=1) as leader:
            await leader.load(replica)
            for number in range(_WARMUPS + num_requests):
                if number == _WARMUPS:
                    stages.clear()
                outcome = await execute(leader, "bert", inputs)
                if not isinstance(outcome, Served):
                    raise RuntimeError(f"not served: {outcome}")
        pairs = [(before, after) for before, after in pairwise(stages) if after.stage]
        return Borders(
            border_s=float(np.median([after.moved_s - before.ended_s for before, after in pairs])),
            move_s=float(np.median([after.moved_s - after.began_s for _, after in pairs])),
            stage_s=float(np.median([stage.ended_s - stage.moved_s for stage in stages])),
        )
