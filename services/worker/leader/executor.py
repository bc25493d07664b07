"""What a leader needs of the devices of its group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

from numpy.typing import NDArray

from services.core.device import DeviceCosts
from services.core.errors import InvalidArgument
from services.core.model import RegisteredModel
from services.core.signature import Signature

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on a group: what admission predicts with, and what the devices must hold.

    `stage_latency_s` is what a single request takes, `larger_batches` what several take that run at
    once, by their number, ascending; both include overhead factors. `stage_weight_bytes` is per
    device. `boundaries` and `device_costs` are those of the profile: without them the devices choose
    the cut, and shard by their own figures.
    """

    model: RegisteredModel
    stage_latency_s: tuple[float, ...]
    stage_weight_bytes: tuple[int, ...]
    request_overhead_s: float = 0.0
    larger_batches: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    boundaries: tuple[int, ...] = ()
    device_costs: DeviceCosts | None = None

    def __post_init__(self) -> None:
        if any(size >= larger for size, larger in pairwise(self.batch_sizes)):
            raise InvalidArgument(f"batch sizes must ascend from 1, got {list(self.batch_sizes)}")
        for size, latency_s in self.larger_batches.items():
            if len(latency_s) != len(self.stage_latency_s):
                raise InvalidArgument(
                    f"{len(latency_s)} stage latencies of batch size {size}, {len(self.stage_latency_s)} of a request"
                )

    @property
    def heaviest_stage_bytes(self) -> int:
        return max(self.stage_weight_bytes)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return (1, *self.larger_batches)

    def batch_latency_s(self, batch_size: int) -> tuple[float, ...]:
        """What a batch of one of the sizes takes in every stage."""
        return self.stage_latency_s if batch_size == 1 else self.larger_batches[batch_size]

    def is_laid_out_as(self, known: "Replica", intra_op: int) -> bool:
        """Whether devices that hold `known` hold what they would of this one: the same weights, cut and sharded alike.
        By their costs devices shard, and choose a cut where none is given."""
        by_costs = intra_op > 1 or not self.boundaries
        return (self.model.source, self.boundaries) == (known.model.source, known.boundaries) and (
            not by_costs or self.device_costs == known.device_costs
        )

    def of_sizes(self, batch_sizes: Sequence[int]) -> "Replica":
        """The same without the other sizes above 1."""
        larger = {size: latency_s for size, latency_s in self.larger_batches.items() if size in batch_sizes}
        return replace(self, larger_batches=larger)


class Executor(Protocol):
    """Runs stages. One call of `run_stage` at a time per stage; stages run side by side."""

    async def load(self, replica: Replica) -> Sequence[int]:
        """Make the model's stages ready to run; what is ready already, in the same layout, is not loaded
        again. Returns the batch sizes that are ready.

        Raises: InvalidModel, DoesNotFit; nothing of a model that was not loaded before stays on the devices.
        """

    async def unload(self, model: str) -> None:
        """Free what `load` took."""

    def signature(self, model: str) -> Signature | None:
        """What a loaded model takes and gives; None of one that is not loaded, and of devices that take anything."""

    def prepare(self, model: str, inputs: Tensors) -> Any:
        """One request, validated, as a member of a batch. Raises: InvalidInput."""

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        """What the next stage takes, once this stage is over. Stage 0 takes a tuple of what `prepare`
        returned, one for each member of the batch."""

    def collect(self, model: str, activation: Any) -> Sequence[Tensors]:
        """The outputs of each member, from what the last stage gave."""

    def close(self) -> None:
        """Give the devices back."""
