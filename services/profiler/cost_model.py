"""The process that estimates: a Ray actor with all devices of the host, which it also calibrates. It alone and the
bench import JAX."""

from importlib.metadata import version
from typing import Any

from services.core.device import DeviceCosts
from services.core.model import ModelSource
from services.core.profile import ParallelConfig, StageProfile
from services.profiler.path import Tensors


class CostModel:
    """One model at a time. Its caller asks one thing after the other."""

    def __init__(self) -> None:
        self._estimator: Any = None

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

    def example(self) -> Tensors:
        """A request of full length."""
        example: Tensors = self._estimator.example()
        return example
