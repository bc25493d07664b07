"""One stage of one model: weights on its mesh and one executable per batch size, compiled ahead of time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from services.parallel.model import Activation, HostActivation, LayeredModel, Parameters, Shapes
from services.parallel.sharding import whole


@dataclass(frozen=True, slots=True)
class Stage:
    """Bytes are those of the most burdened device of the mesh.

    `executables` and `activation_bytes` go by batch size; the latter is what a run needs beside
    the weights: inputs, temporaries, outputs.
    """

    parameters: tuple[Parameters, ...]
    executables: Mapping[int, jax.stages.Compiled]
    placement: NamedSharding
    weight_bytes: int
    activation_bytes: Mapping[int, int]

    def place(self, activation: Activation | HostActivation) -> Activation:
        """The activation on this stage's mesh, once it is there."""
        placed: Activation = jax.block_until_ready(jax.device_put(activation, self.placement))
        return placed

    def run(self, activation: Activation) -> Activation:
        """Run the layers on a placed activation, of one of the batch sizes, and wait for the result."""
        batch_size = next(iter(activation.values())).shape[0]
        output: Activation = jax.block_until_ready(self.executables[batch_size](self.parameters, activation))
        return output

    def free(self) -> None:
        """Give the weights' device memory back at once, whoever still holds the stage."""
        for parameters in self.parameters:
            for value in parameters.values():
                value.delete()


def build_stage(
    model: LayeredModel, layers: range, mesh: Mesh, shapes: Mapping[int, Shapes]
) -> tuple[Stage, dict[int, Shapes]]:
    """Load, compile and warm the stage of `layers`, given what shapes it takes by batch size.

    Returns the stage and the shapes it hands on.
    """
    parameters = tuple(_place_layer(model, layer, mesh) for layer in layers)
    weight_bytes = _heaviest_device_bytes(parameters)
    executables = {size: _compile(model, layers, mesh, parameters, taken) for size, taken in shapes.items()}
    activation_bytes = {size: _activation_bytes(program, weight_bytes) for size, program in executables.items()}
    built = Stage(parameters, executables, whole(mesh), weight_bytes, activation_bytes)
    return built, {size: _warm(built, taken) for size, taken in shapes.items()}


def _compile(
    model: LayeredModel, layers: range, mesh: Mesh, parameters: tuple[Parameters, ...], shapes: Shapes
) -> jax.stages.Compiled:
    placement = whole(mesh)
    placed_shapes = {
        key: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=placement) for key, shape in shapes.items()
    }

    def stage(parameters: Sequence[Parameters], activation: Activation) -> Activation:
        for layer, layer_parameters in zip(layers, parameters, strict=True):
            activation = model.apply_layer(layer, layer_parameters, activation)
        return activation

    with jax.set_mesh(mesh):
        return jax.jit(stage, out_shardings=placement).lower(parameters, placed_shapes).compile()


def _warm(stage: Stage, shapes: Shapes) -> Shapes:
    """Run the stage once on zeros; the shapes that it hands on."""
    warm = stage.run(stage.place({key: jnp.zeros(shape.shape, shape.dtype) for key, shape in shapes.items()}))
    return {key: jax.ShapeDtypeStruct(value.shape, value.dtype) for key, value in warm.items()}


def _place_layer(model: LayeredModel, layer: int, mesh: Mesh) -> Parameters:
    specs = model.layer_specs(layer, mesh.size)
    values = model.layer_parameters(layer)
    return {key: jax.device_put(value, NamedSharding(mesh, specs[key])) for key, value in values.items()}


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
