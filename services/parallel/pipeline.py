"""The executor of one group: its devices as one mesh per stage, and the models loaded on them.

Each stage may be run from a thread of its own, while another thread loads a model. The caller
keeps to one load or unload at a time, and drains a model before `unload`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from services.core.errors import AlreadyExists, InvalidArgument, InvalidModel, NotPlaced
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import Inputs, LayeredModel, Outputs
from services.parallel.partition import check_boundaries, interval_sums, min_max_boundaries
from services.parallel.sharding import stage_mesh
from services.parallel.stage import Stage, build_stage


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model's memory, per stage, on the most burdened device of the stage.

    Stage k holds layers `boundaries[k]:boundaries[k + 1]`; activations go by batch size.
    """

    stage_weight_bytes: tuple[int, ...]
    stage_activation_bytes: Mapping[int, tuple[int, ...]]
    boundaries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Resident:
    source: ModelSource
    model: LayeredModel
    stages: tuple[Stage, ...]
    loaded: LoadedModel


class JaxPipeline:
    """`inter_op` stages on `intra_op` devices each, the first of this process."""

    def __init__(self, *, inter_op: int, intra_op: int, cache_dir: str | None = None) -> None:
        """Take the devices. With `cache_dir`, compiled programs are kept there; JAX has one
        such directory per process.

        Raises:
            InvalidArgument: the process has fewer devices.
        """
        devices = jax.devices()
        if min(inter_op, intra_op) < 1 or inter_op * intra_op > len(devices):
            raise InvalidArgument(f"{inter_op}x{intra_op} devices wanted, {len(devices)} present")
        if cache_dir is not None:
            _keep_compiled_programs(cache_dir)
        self._meshes = tuple(stage_mesh(devices[k * intra_op : (k + 1) * intra_op]) for k in range(inter_op))
        self._residents: dict[str, _Resident] = {}

    @property
    def inter_op(self) -> int:
        return len(self._meshes)

    def load(
        self,
        name: str,
        source: ModelSource,
        boundaries: Sequence[int] | None = None,
        batch_sizes: Sequence[int] = (1,),
    ) -> LoadedModel:
        """Put the weights on the devices layer by layer, compile each stage for every batch size
        and run it once.

        Loading the same source again changes nothing. Without `boundaries` the cut balances
        the FLOPs of the stages.

        Raises:
            InvalidModel: the source cannot be read or is not supported.
            InvalidArgument: the boundaries do not fit the model, or a batch size is none.
            AlreadyExists: the name is taken by another source or cut.
        """
        boundaries = None if boundaries is None else tuple(boundaries)
        resident = self._residents.get(name)
        if resident is None:
            resident = self._build(source, boundaries, batch_sizes)
            self._residents[name] = resident
        elif resident.source != source or boundaries not in (None, resident.loaded.boundaries):
            raise AlreadyExists(f"model {name!r} is loaded from another source or with another cut")
        return resident.loaded

    def unload(self, name: str) -> None:
        """Free the model's device memory; a model that is not loaded changes nothing."""
        resident = self._residents.pop(name, None)
        if resident is not None:
            for stage in resident.stages:
                stage.free()

    def prepare(self, name: str, inputs: Inputs) -> Any:
        """Validate one request and pad it: what stage 0 takes.

        Raises:
            InvalidInput: the model does not take these inputs; the message names the value.
        """
        return self.prepare_batch(name, [inputs])

    def prepare_batch(self, name: str, batch: Sequence[Inputs]) -> Any:
        """The same for several requests at once, as many as one of the loaded batch sizes."""
        return self._resident(name).model.prepare(batch)

    def example(self, name: str) -> Inputs:
        """A request of full length."""
        return self._resident(name).model.example()

    def place(self, name: str, stage: int, activation: Any) -> Any:
        """Move an activation to the stage's mesh and wait for it; `run_stage` does so itself."""
        return self._resident(name).stages[stage].place(activation)

    def run_stage(self, name: str, stage: int, activation: Any) -> Any:
        """Move the activation to the stage's mesh, run the stage and wait for the result."""
        chosen = self._resident(name).stages[stage]
        return chosen.run(chosen.place(activation))

    def collect(self, name: str, activation: Any) -> Outputs:
        """The outputs of the request, on the host, from what the last stage returned."""
        (outputs,) = self._resident(name).model.collect(jax.device_get(activation))
        return outputs

    def _resident(self, name: str) -> _Resident:
        resident = self._residents.get(name)
        if resident is None:
            raise NotPlaced(f"model {name!r} is not loaded here")
        return resident

    def _build(self, source: ModelSource, boundaries: tuple[int, ...] | None, batch_sizes: Sequence[int]) -> _Resident:
        for batch_size in batch_sizes:
            if batch_size < 1:
                raise InvalidArgument(f"batch sizes must be at least 1, got {batch_size}")
        model = open_model(source)
        cut = _balanced_boundaries(model, len(self._meshes)) if boundaries is None else boundaries
        check_boundaries(cut, model.num_layers, len(self._meshes))
        shapes = {size: model.input_shapes(size) for size in batch_sizes}
        stages = []
        for mesh, (start, stop) in zip(self._meshes, pairwise(cut), strict=True):
            stage, shapes = build_stage(model, range(start, stop), mesh, shapes)
            stages.append(stage)
        loaded = LoadedModel(
            stage_weight_bytes=tuple(stage.weight_bytes for stage in stages),
            stage_activation_bytes={
                size: tuple(stage.activation_bytes[size] for stage in stages) for size in batch_sizes
            },
            boundaries=cut,
        )
        return _Resident(source, model, tuple(stages), loaded)


def _balanced_boundaries(model: LayeredModel, num_stages: int) -> tuple[int, ...]:
    flops = np.array([model.layer_flops(layer) for layer in range(model.num_layers)])
    boundaries = min_max_boundaries(interval_sums(flops), num_stages) if num_stages <= len(flops) else None
    if boundaries is None:
        raise InvalidModel(f"a model of {len(flops)} layers cannot be cut into {num_stages} stages")
    return boundaries


def _keep_compiled_programs(cache_dir: str) -> None:
    jax.config.update("jax_compilation_cache_dir", cache_dir)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
