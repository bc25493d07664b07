"""One stage of one model: weights on its mesh and one executable per batch size, compiled ahead of time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from services.core.device import DeviceCosts
from services.parallel.intra_op.plan import StagePlan, plan_stage
from services.parallel.model import Activation, HostActivation, LayeredModel, Parameters, Shapes
from services.parallel.sharding import whole


@dataclass(frozen=True, slots=True)
class Stage:
    """Bytes are those of the most burdened device of the mesh.

    `executables` and `activation_bytes` go by batch size; the latter is what a run needs beside
    the weights: inputs, temporaries, outputs. `plan` is the one that the weights are sharded by, for
    batches of its size.
    """

    layers: range
    plan: StagePlan
    plan_size: int
    parameters: tuple[Parameters, ...]
    executables: Mapping[int, jax.stages.Compiled]
    mesh: Mesh
    weight_bytes: int
    activation_bytes: Mapping[int, int]

    def place(self, activation: Activation | HostActivation) -> Activation:
        """The activation on this stage's mesh, once it is there."""
        placed: Activation = jax.block_until_ready(jax.device_put(activation, whole(self.mesh)))
        return placed

    def run(self, activation: Activation) -> Activation:
        """Run the layers on a placed activation, of one of the batch sizes, and wait for the result."""
        output: Activation = jax.block_until_ready(
            self.executables[batch_size(activation)](self.parameters, activation)
        )
        return output

    def free(self) -> None:
        """Give the weights' device memory back at once, whoever still holds the stage."""
        for parameters in self.parameters:
            for value in parameters.values():
                value.delete()


def load_stage(
    model: LayeredModel, layers: range, mesh: Mesh, shapes: Shapes, costs: DeviceCosts
) -> tuple[Stage, Shapes]:
    """Put the weights of `layers` on the mesh, sharded as a batch of `shapes` wants it; nothing is compiled yet.

    Returns the stage and the shapes that it hands on.
    """
    apply = partial(apply_layers, model, layers)
    parameter_shapes = tuple(model.layer_parameters(layer) for layer in layers)
    plan = plan_stage(apply, parameter_shapes, shapes, mesh.size, costs)
    parameters = tuple(
        _load_layer(model, layer, mesh, specs) for layer, specs in zip(layers, plan.parameter_specs, strict=True)
    )
    weight_bytes = _heaviest_device_bytes(parameters)
    stage = Stage(layers, plan, batch_size(shapes), parameters, {}, mesh, weight_bytes, {})
    return stage, jax.eval_shape(apply, parameter_shapes, shapes)


def compile_stage(
    stage: Stage, model: LayeredModel, shapes: Mapping[int, Shapes], costs: DeviceCosts
) -> tuple[Stage, dict[int, Shapes]]:
    """The stage with executables for these batch sizes as well, compiled and run once, given what shapes it
    takes by batch size; and the shapes that it hands on. The weights stay where they are."""
    programs: dict[int, jax.stages.Compiled] = {}
    for size, taken in shapes.items():
        plan = stage.plan if size == stage.plan_size else _plan_again(stage, model, taken, costs)
        programs[size] = _compile(plan, stage, taken)
    activation_bytes = {size: _activation_bytes(program, stage.weight_bytes) for size, program in programs.items()}
    compiled = replace(
        stage,
        executables={**stage.executables, **programs},
        activation_bytes={**stage.activation_bytes, **activation_bytes},
    )
    return compiled, {size: _warm(compiled, taken) for size, taken in shapes.items()}


def _plan_again(stage: Stage, model: LayeredModel, shapes: Shapes, costs: DeviceCosts) -> StagePlan:
    """How to run batches of another size with the weights as they lie."""
    parameter_shapes = tuple(model.layer_parameters(layer) for layer in stage.layers)
    apply = partial(apply_layers, model, stage.layers)
    return plan_stage(apply, parameter_shapes, shapes, stage.mesh.size, costs, pinned=stage.plan.parameter_specs)


def batch_size(activation: Mapping[str, Any]) -> int:
    """Rows of an activation, or of its shapes."""
    return int(next(iter(activation.values())).shape[0])


def apply_layers(
    model: LayeredModel, layers: Sequence[int], parameters: Sequence[Parameters], activation: Activation
) -> Activation:
    """The layers in turn, as a traceable function."""
    for layer, layer_parameters in zip(layers, parameters, strict=True):
        activation = model.apply_layer(layer, layer_parameters, activation)
    return activation


def _compile(plan: StagePlan, stage: Stage, shapes: Shapes) -> jax.stages.Compiled:
    placement = whole(stage.mesh)
    placed_shapes = {
        key: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=placement) for key, shape in shapes.items()
    }

    def run_stage(parameters: Sequence[Parameters], activation: Activation) -> Activation:
        return plan.apply(parameters, activation)

    with jax.set_mesh(stage.mesh):
        return jax.jit(run_stage, out_shardings=placement).lower(stage.parameters, placed_shapes).compile()


def _warm(stage: Stage, shapes: Shapes) -> Shapes:
    """Run the stage once on zeros; the shapes that it hands on."""
    warm = stage.run(stage.place({key: jnp.zeros(shape.shape, shape.dtype) for key, shape in shapes.items()}))
    return {key: jax.ShapeDtypeStruct(value.shape, value.dtype) for key, value in warm.items()}


def _load_layer(model: LayeredModel, layer: int, mesh: Mesh, specs: Mapping[str, PartitionSpec]) -> Parameters:
    """Every tensor shard by shard, each straight to the device that holds it."""
    return {
        name: jax.make_array_from_callback(
            shape.shape, NamedSharding(mesh, specs[name]), partial(model.read, layer, name), dtype=shape.dtype
        )
        for name, shape in model.layer_parameters(layer).items()
    }


def _heaviest_device_bytes(parameters: Sequence[Parameters]) -> int:
    device_bytes: Counter[int] = Counter()
    for layer_parameters in parameters:
        for value in layer_parameters.values():
            for shard in value.addressable_shards:
                device_bytes[shard.device.id] += shard.data.nbytes
    return max(device_bytes.values(), default=0)


def _activation_bytes(executable: jax.stages.Compiled, weight_bytes: int) -> int:
    memory = executable.memory_analysis()
    if memory is None:
        return 0
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return max(int(total) - weight_bytes, 0)
