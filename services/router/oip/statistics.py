"""What became of the requests that came by the Open Inference Protocol, since this router began."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from alpaserve.oip.v2 import inference_pb2
from alpaserve.v1 import router_pb2

from services.router.oip.request import VERSION, slowest_of


@dataclass(slots=True)
class Tally:
    """How many, and how long together."""

    count: int = 0
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds

    def message(self) -> inference_pb2.StatisticDuration:
        return inference_pb2.StatisticDuration(count=self.count, ns=round(self.total_s * 1e9))


@dataclass(slots=True)
class ModelTallies:
    """Those of one model; `num_batches` counts each example for its share of one."""

    success: Tally = field(default_factory=Tally)
    fail: Tally = field(default_factory=Tally)
    queue: Tally = field(default_factory=Tally)
    execution: Tally = field(default_factory=Tally)
    by_batch_size: defaultdict[int, Tally] = field(default_factory=lambda: defaultdict(Tally))
    num_examples: int = 0
    num_batches: float = 0.0
    last_at_s: float = 0.0

    def message(self, name: str) -> inference_pb2.ModelStatistics:
        return inference_pb2.ModelStatistics(
            name=name,
            version=VERSION,
            last_inference=round(self.last_at_s * 1e3),
            inference_count=self.num_examples,
            execution_count=round(self.num_batches),
            inference_stats=inference_pb2.InferStatistics(
                success=self.success.message(),
                fail=self.fail.message(),
                queue=self.queue.message(),
                **_compute(self.execution),
            ),
            batch_stats=[
                inference_pb2.InferBatchStatistics(batch_size=size, **_compute(tally))
                for size, tally in sorted(self.by_batch_size.items())
            ],
        )


def _compute(execution: Tally) -> dict[str, inference_pb2.StatisticDuration]:
    """Moving inputs and outputs is part of executing; load testers want it counted all the same."""
    moving = Tally(execution.count).message()
    return {"compute_input": moving, "compute_infer": execution.message(), "compute_output": moving}


class Statistics:
    """Tallies by model."""

    def __init__(self) -> None:
        self._models: defaultdict[str, ModelTallies] = defaultdict(ModelTallies)

    def served(self, model: str, latency_s: float, examples: Sequence[router_pb2.InferResponse]) -> None:
        """Count a request that was answered; what its slowest example took is what it took."""
        tallies = self._models[model]
        slowest = examples[slowest_of(examples)]
        tallies.success.add(latency_s)
        tallies.queue.add(slowest.queue_time_s)
        tallies.execution.add(slowest.execution_time_s)
        for example in examples:
            batch_size = example.batch_size or 1
            tallies.by_batch_size[batch_size].add(example.execution_time_s)
            tallies.num_batches += 1 / batch_size
        tallies.num_examples += len(examples)
        tallies.last_at_s = time.time()

    def failed(self, model: str, latency_s: float) -> None:
        """Count a request that ended without an answer."""
        self._models[model].fail.add(latency_s)

    def of(self, models: Iterable[str]) -> inference_pb2.ModelStatisticsResponse:
        """Of these models, also where nobody asked them."""
        stats = [self._models.get(name, ModelTallies()).message(name) for name in models]
        return inference_pb2.ModelStatisticsResponse(model_stats=stats)
