"""A model on the meshes of a pipeline: loaded once, compiled for one batch size after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from jax.sharding import Mesh

from services.core.device import DeviceCosts
from services.core.model import ModelSource
from services.parallel.inter_op.cut import check_boundaries
from services.parallel.inter_op.layer_costs import balanced_boundaries
from services.parallel.inter_op.refinement import open_refined
from services.parallel.model import LayeredModel
from services.parallel.stage import Stage, compile_stage, load_stage


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model's memory, per stage, on the most burdened device of the stage.

    Stage k holds layers `boundaries[k]:boundaries[k + 1]`; activations go by batch size.
    """

    stage_weight_bytes: tuple[int, ...]
    stage_activation_bytes: Mapping[int, tuple[int, ...]]
    boundaries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resident:
    """What a pipeline holds of one model."""

    source: ModelSource
    model: LayeredModel
    boundaries: tuple[int, ...]
    stages: tuple[Stage, ...]

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return tuple(sorted(self.stages[0].executables))

    def memory(self) -> LoadedModel:
        return LoadedModel(
            stage_weight_bytes=tuple(stage.weight_bytes for stage in self.stages),
            stage_activation_bytes={
                size: tuple(stage.activation_bytes[size] for stage in self.stages) for size in self.batch_sizes
            },
            boundaries=self.boundaries,
        )

    def free(self) -> None:
        """Give the device memory of the weights back at once."""
        for stage in self.stages:
            stage.free()


def load_model(
    source: ModelSource,
    meshes: Sequence[Mesh],
    boundaries: tuple[int, ...] | None,
    batch_size: int,
    costs: DeviceCosts,
) -> Resident:
    """Put the weights on the meshes, sharded as batches of `batch_size` want it.

    Raises:
        InvalidModel, InvalidArgument: as `JaxPipeline.load`; nothing stays on the devices.
    """
    model = open_refined(source)
    cut = boundaries or balanced_boundaries(model, len(meshes), meshes[0].size, costs)
    check_boundaries(cut, model.num_layers, len(meshes))
    shapes = model.input_shapes(batch_size)
    stages: list[Stage] = []
    try:
        for mesh, (start, stop) in zip(meshes, pairwise(cut), strict=True):
            stage, shapes = load_stage(model, range(start, stop), mesh, shapes, costs)
            stages.append(stage)
    except BaseException:
        for stage in stages:
            stage.free()
        raise
    return Resident(source, model, cut, tuple(stages))


def compile_model(resident: Resident, batch_sizes: Sequence[int], costs: DeviceCosts) -> Resident:
    """The model with executables for these batch sizes as well, each of them run once."""
    missing = sorted(set(batch_sizes) - set(resident.batch_sizes))
    shapes = {size: resident.model.input_shapes(size) for size in missing}
    stages = []
    for stage in resident.stages:
        compiled, shapes = compile_stage(stage, resident.model, shapes, costs)
        stages.append(compiled)
    return replace(resident, stages=tuple(stages))
