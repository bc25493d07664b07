"""The process that measures and estimates: a Ray actor with all devices. It alone imports JAX."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from services.core.device import DeviceCosts
from services.core.errors import InvalidArgument
from services.core.model import ModelSource
from services.core.profile import ParallelConfig, StageProfile
from services.profiler.path import End, Tensors

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
    """One model at a time, one config of it loaded. Its caller asks one thing after the other."""

    def __init__(self, cache_dir: str) -> None:
        self._cache_dir = cache_dir
        self._estimator: Any = None
        self._loaded: Loaded | None = None
        self._end: End | None = None

    def device_kind(self) -> str:
        import jax

        return str(jax.devices()[0].device_kind)

    def versions(self) -> dict[str, str]:
        """Of what compiles and runs the programs."""
        return {package: version(package) for package in ("jax", "jaxlib")}

    def calibrate(self, dtype: str) -> DeviceCosts:
        """What the devices here cost, measured."""
        import jax

        from services.parallel.calibration import calibrate

        return calibrate(jax.devices(), dtype)

    def open(self, source: ModelSource, costs: DeviceCosts, memory_bytes: int) -> None:
        """Take up a model. Raises: InvalidModel."""
        from services.profiler.estimator import Estimator

        self._estimator = Estimator(source, costs, memory_bytes)

    def estimate(self, config: ParallelConfig, batch_size: int, boundaries: tuple[int, ...] = ()) -> StageProfile:
        """By the cost model. Raises: InvalidArgument for more stages than layers; DoesNotFit."""
        estimate: StageProfile = self._estimator.estimate(config, batch_size, boundaries)
        return estimate

    def cut(self, config: ParallelConfig) -> tuple[int, ...]:
        """Boundaries by layers measured here. Raises: InvalidArgument, DoesNotFit."""
        boundaries: tuple[int, ...] = self._estimator.cut(config)
        return boundaries

    def flops(self, batch_size: int) -> float:
        return float(self._estimator.flops(batch_size))

    def load(self, trial: Trial) -> None:
        """Load one config in place of the one before. Raises: InvalidModel, InvalidArgument."""
        from services.profiler.trials import Loaded

        self.unload()
        self._loaded = Loaded(trial, self._cache_dir)

    async def measure(self, batch_size: int, num_warmups: int, num_repeats: int) -> StageProfile:
        """Raises: DoesNotFit."""
        return await self._model.stage_profile(batch_size, (num_warmups, num_repeats))

    def example(self) -> Tensors:
        """A request of full length."""
        example: Tensors = self._estimator.example()
        return example

    async def serve(self, redis_url: str, max_message_bytes: int) -> str:
        """Serve what is loaded, as the leader of a group does, until the actor ends; returns the address. While
        nothing is loaded, requests come back as they are."""
        self._end = End(self._run, redis_url, max_message_bytes)
        return await self._end.serve()

    def unload(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    async def _run(self, inputs: Tensors) -> tuple[Tensors, float]:
        return (inputs, 0.0) if self._loaded is None else await self._loaded.run(inputs)

    @property
    def _model(self) -> "Loaded":
        if self._loaded is None:
            raise InvalidArgument("no config is loaded")
        return self._loaded
