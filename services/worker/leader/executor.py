"""What a leader needs of the devices of its group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from services.core.model import RegisteredModel

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on a group: what admission predicts with, and what the devices must hold.

    `stage_latency_s` includes overhead factors; `stage_weight_bytes` is per device.
    """

    model: RegisteredModel
    stage_latency_s: tuple[float, ...]
    stage_weight_bytes: tuple[int, ...]
    request_overhead_s: float = 0.0

    @property
    def heaviest_stage_bytes(self) -> int:
        return max(self.stage_weight_bytes)


class Executor(Protocol):
    """Runs stages. One call of `run_stage` at a time per stage; stages run side by side."""

    async def load(self, replica: Replica) -> None:
        """Make the model's stages ready to run; what is ready already is not loaded again.

        Raises: InvalidModel.
        """

    async def unload(self, model: str) -> None:
        """Free what `load` took."""

    def prepare(self, model: str, inputs: Tensors) -> Any:
        """What stage 0 takes. Raises: InvalidInput."""

    async def run_stage(self, model: str, stage: int, activation: Any) -> Any:
        """What the next stage takes, once this stage is over."""

    def collect(self, model: str, activation: Any) -> Tensors:
        """The outputs, from what the last stage gave."""

    def close(self) -> None:
        """Give the devices back."""
