"""How long a group's process takes until it serves a model, first with no compiled program at hand and then
with those of the process before it, and whether its first request is slower than later ones.

`python -m benchmarks.reload`. Each start is a process of its own, as after a crash; CPU devices.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.leaders import execute
from benchmarks.report import table, title
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import ParallelConfig
from services.infra.ray_cluster import answer, end_actor, join_cluster, leave_cluster, start_actor
from services.parallel.environment import device_environment
from services.worker.leader.executor import Replica
from services.worker.leader.flight import Served
from services.worker.leader.process import LeaderProcess
from services.worker.settings import WorkerSettings

_NUM_STARTS = 3
_NUM_REQUESTS = 30
_CONFIGS = (ParallelConfig(1, 1), ParallelConfig(2, 1), ParallelConfig(2, 2))
_BERT = {
    "model_type": "bert",
    "vocab_size": 4096,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
}


@dataclass(frozen=True)
class Start:
    """Seconds: from nothing to a process with its devices, the load in it, and each request after that."""

    start_s: float
    load_s: float
    requests_s: tuple[float, ...]

    @property
    def later_s(self) -> float:
        return statistics.median(self.requests_s[1:])


class Loading(LeaderProcess):
    """A process that leads one group, and asks it itself."""

    async def requests(self, inputs: Any) -> tuple[float, ...]:
        """The seconds that each of some requests took, one after the other."""
        seconds = []
        for _ in range(_NUM_REQUESTS):
            began_s = time.perf_counter()
            outcome = await execute(self._leader("g"), "bert", inputs)
            seconds.append(time.perf_counter() - began_s)
            assert isinstance(outcome, Served), outcome
        return tuple(seconds)


async def start(config: ParallelConfig, cache_dir: str) -> Start:
    """One life of a process."""
    source = ModelSource(config=json.dumps(_BERT), sequence_length=64)
    latency_s, num_bytes = (0.1,) * config.inter_op, (1,) * config.inter_op
    replica = Replica(RegisteredModel("bert", "bert", source), latency_s, num_bytes)
    settings = WorkerSettings(redis_url="redis://none", cache_dir=cache_dir, log_level="warning")
    began_s = time.perf_counter()
    actor = start_actor(Loading, device_environment(config.num_devices, "cpu"), settings)
    try:
        await answer(actor.form.remote("g", config))
        formed_s = time.perf_counter()
        load_s = await answer(actor.load.remote("g", replica))
        requests_s = await answer(actor.requests.remote({"input_ids": np.arange(1, 65)}))
        return Start(formed_s - began_s, load_s, requests_s)
    finally:
        end_actor(actor)


def row(config: ParallelConfig) -> tuple[object, ...]:
    """Medians over several directories, each of them empty at first."""
    cold, warm = [], []
    for _ in range(_NUM_STARTS):
        with tempfile.TemporaryDirectory() as cache_dir:
            cold.append(asyncio.run(start(config, cache_dir)))
            warm.append(asyncio.run(start(config, cache_dir)))
    start_s = statistics.median(one.start_s for one in cold + warm)
    cold_s, warm_s = (statistics.median(one.load_s for one in starts) for starts in (cold, warm))
    first_s = statistics.median(one.requests_s[0] for one in warm)
    later_s = statistics.median(one.later_s for one in warm)
    return str(config), start_s, cold_s, warm_s, cold_s / warm_s, 1e3 * first_s, 1e3 * later_s, first_s / later_s


def rows() -> Iterator[tuple[object, ...]]:
    for config in _CONFIGS:
        yield row(config)


def main() -> None:
    join_cluster("local", 80 << 20)
    try:
        title("From nothing to the first request: BERT with 4 layers of 256, CPU devices")
        header = ("config", "process, s", "cold load, s", "warm load, s", "cold / warm")
        table((*header, "first request, ms", "median of later ones, ms", "first / later"), rows())
    finally:
        leave_cluster()


if __name__ == "__main__":
    main()
