"""The process that measures: a Ray actor with the devices of one group, as a leader of such a group has."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.core.device import DeviceCosts
from services.core.errors import InvalidArgument
from services.core.model import ModelSource
from services.core.profile import ParallelConfig, StageProfile
from services.profiler.path import End, Tensors
from services.profiler.way import Way

if TYPE_CHECKING:
    from services.profiler.trials import Loaded


@dataclass(frozen=True, slots=True)
class Trial:
    """What to load, how, and for which batch sizes."""

    source: ModelSource
    config: ParallelConfig
    boundaries: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    costs: DeviceCosts
    memory_bytes: int


class Bench:
    """One config of one model loaded at a time. Its caller asks one thing after the other."""

    def __init__(self, cache_dir: str) -> None:
        self._cache_dir = cache_dir
        self._loaded: Loaded | None = None
        self._end: End | None = None

    def load(self, trial: Trial) -> None:
        """Load one config in place of the one before. Raises: InvalidModel, InvalidArgument."""
        from services.profiler.trials import Loaded

        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None
        self._loaded = Loaded(trial, self._cache_dir)

    async def measure(self, batch_size: int, num_warmups: int, num_repeats: int) -> StageProfile:
        """Raises: DoesNotFit."""
        if self._loaded is None:
            raise InvalidArgument("no config is loaded")
        return await self._loaded.stage_profile(batch_size, (num_warmups, num_repeats))

    async def serve(self, way: Way) -> str:
        """Serve what is loaded, as the leader of a group does, until the actor ends; returns the address. While
        nothing is loaded, requests come back as they are."""
        self._end = End(self._run, way)
        return await self._end.serve()

    async def _run(self, inputs: Tensors) -> tuple[Tensors, float]:
        return (inputs, 0.0) if self._loaded is None else await self._loaded.run(inputs)
