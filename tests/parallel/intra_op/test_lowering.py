"""The compiled stage computes the same on every device's share, and moves between devices what the plan says."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from numpy.typing import NDArray

from services.core.device import DeviceCosts
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.intra_op.baselines import megatron_specs
from services.parallel.intra_op.graph import trace
from services.parallel.intra_op.lowering import lowered
from services.parallel.intra_op.plan import plan_stage
from services.parallel.intra_op.strategies import Mesh, strategies
from services.parallel.intra_op.traffic import traffic
from services.parallel.model import Activation, Parameters
from services.parallel.stage import apply_layers
from tests.parallel.intra_op.programs import (
    CHEAP_PARTS,
    FEW_BYTES,
    FEW_COLLECTIVES,
    block_shapes,
    collectives,
    compiled,
    drawn,
    encoder,
    flops,
    hidden_shapes,
)


def close(got: NDArray[Any], wanted: NDArray[Any]) -> bool:
    scale = float(np.abs(wanted).max()) + 1e-30
    return bool(np.allclose(got / scale, wanted / scale, rtol=1e-4, atol=1e-5))


@pytest.mark.parametrize(
    ("costs", "memory_bytes", "num_devices"),
    [(FEW_COLLECTIVES, None, 2), (CHEAP_PARTS, None, 4), (FEW_BYTES, math.inf, 4)],
    ids=["all-reduces, 2", "reduce-scatters, 4", "all-to-all, 4"],
)
def test_a_block_runs_as_planned(costs: DeviceCosts, memory_bytes: float | None, num_devices: int) -> None:
    stage, shapes, taken = encoder(4), (block_shapes(64),), hidden_shapes(32, 64)
    weights, inputs = [drawn(shapes[0])], drawn(taken)
    plan = plan_stage(stage, shapes, taken, num_devices, costs, memory_bytes=memory_bytes)

    program, outputs = compiled(plan.apply, plan.parameter_specs, weights, inputs, num_devices)
    alone, wanted = compiled(stage, [dict.fromkeys(shapes[0], PartitionSpec())], weights, inputs, 1)

    assert collectives(program) == plan.collectives
    assert flops(program) < 1.1 / num_devices * flops(alone)
    assert close(outputs["hidden"], wanted["hidden"])


@pytest.mark.parametrize(
    ("name", "layers", "num_devices"),
    [
        ("bert-tiny", (0, 1, 4), 2),
        ("gpt-tiny", (0, 1, 4), 4),
        ("moe-tiny", (0, 2, 5), 4),
        ("wide-resnet-tiny", (0, 1, 2, 3, 4), 2),
    ],
)
def test_every_model_runs_as_planned(name: str, layers: tuple[int, ...], num_devices: int) -> None:
    model = open_model(ModelSource(config=name, seed=4, sequence_length=16))
    stage = partial(apply_layers, model, layers)
    shapes = [model.layer_parameters(layer) for layer in layers]
    weights = [
        {key: model.read(layer, key, (slice(None),) * len(shape.shape)) for key, shape in layer_shapes.items()}
        for layer, layer_shapes in zip(layers, shapes, strict=True)
    ]
    inputs = model.prepare([model.example(), model.example()])
    specs = next(megatron_specs(shapes, num_devices, num_heads=4)) if num_devices == 4 else None
    plan = plan_stage(stage, shapes, model.input_shapes(2), num_devices, FEW_COLLECTIVES, pinned=specs)

    program, outputs = compiled(plan.apply, plan.parameter_specs, weights, inputs, num_devices)
    _, wanted = compiled(stage, [dict.fromkeys(layer, PartitionSpec()) for layer in shapes], weights, inputs, 1)

    assert plan.collectives
    assert collectives(program) == plan.collectives
    assert all(close(outputs[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(("length", "hidden", "num_heads"), [(7, 30, 3), (6, 20, 5)])
def test_sizes_that_the_devices_do_not_divide_stay_right(length: int, hidden: int, num_heads: int) -> None:
    stage, shapes, taken = encoder(num_heads), (block_shapes(hidden),), hidden_shapes(length, hidden)
    weights, inputs = [drawn(shapes[0])], drawn(taken)
    plan = plan_stage(stage, shapes, taken, 4, FEW_COLLECTIVES)

    program, outputs = compiled(plan.apply, plan.parameter_specs, weights, inputs, 4)
    _, wanted = compiled(stage, [dict.fromkeys(shapes[0], PartitionSpec())], weights, inputs, 1)

    assert collectives(program) == plan.collectives
    assert close(outputs["hidden"], wanted["hidden"])


def unknown(parameters: Sequence[Parameters], activation: Activation) -> Activation:
    """Operators that the pass knows nothing about, between those it does."""
    value = activation["x"] @ parameters[0]["w"]
    value = jax.lax.scan(lambda carry, row: (carry + row, jnp.sin(carry)), jnp.zeros(value.shape[1]), value)[1]
    value = jax.lax.cond(value.sum() > 0, jnp.cos, jnp.sin, value)
    value, places = jax.lax.top_k(value, 8)
    noise = jax.random.uniform(jax.random.key(3), value.shape)
    return {"x": (jnp.fft.fft(value).real + noise) @ parameters[0]["u"], "places": places}


def test_unknown_primitives_stay_right() -> None:
    shapes = ({"w": jax.ShapeDtypeStruct((8, 16), np.float32), "u": jax.ShapeDtypeStruct((8, 8), np.float32)},)
    taken = {"x": jax.ShapeDtypeStruct((4, 8), np.float32)}
    weights, inputs = [drawn(shapes[0])], drawn(taken)
    plan = plan_stage(unknown, shapes, taken, 4, FEW_COLLECTIVES)

    _, outputs = compiled(plan.apply, plan.parameter_specs, weights, inputs, 4)
    _, wanted = compiled(unknown, [dict.fromkeys(shapes[0], PartitionSpec())], weights, inputs, 1)

    assert plan.collectives
    assert close(outputs["x"], wanted["x"])
    np.testing.assert_array_equal(outputs["places"], wanted["places"])


def transformed(parameters: Sequence[Parameters], activation: Activation) -> Activation:
    """Calls in calls: they are unfolded, and their operators split like the others."""

    @jax.custom_vjp
    def squared(value: jax.Array) -> jax.Array:
        return jnp.square(value)

    squared.defvjp(lambda value: (squared(value), value), lambda value, given: (2 * value * given,))
    inner = jax.checkpoint(lambda value: jax.jit(jax.nn.relu)(value) + 1)(activation["x"] @ parameters[0]["w"])
    return {"x": squared(inner) @ parameters[0]["u"], "same": activation["x"], "one": jnp.ones(3)}


def test_calls_are_unfolded() -> None:
    shapes = ({"w": jax.ShapeDtypeStruct((8, 16), np.float32), "u": jax.ShapeDtypeStruct((16, 8), np.float32)},)
    taken = {"x": jax.ShapeDtypeStruct((4, 8), np.float32)}
    weights, inputs = [drawn(shapes[0])], drawn(taken)
    plan = plan_stage(transformed, shapes, taken, 4, FEW_COLLECTIVES)

    program, outputs = compiled(plan.apply, plan.parameter_specs, weights, inputs, 4)
    _, wanted = compiled(transformed, [dict.fromkeys(shapes[0], PartitionSpec())], weights, inputs, 1)

    assert plan.collectives == collectives(program) == {"all-reduce": 1}
    assert all(close(outputs[key], wanted[key]) for key in ("x", "same", "one"))


STEPS: tuple[Callable[[jax.Array], jax.Array], ...] = (
    jnp.tanh,
    jnp.transpose,
    lambda value: value @ value.T,
    lambda value: (square := value @ value.T) @ square,
    lambda value: value.reshape(value.shape[0], -1, 2).sum(axis=-1),
    lambda value: value - value.max(axis=0),
    lambda value: jnp.concatenate([value, value * 2], axis=1),
    lambda value: jax.nn.softmax(value, axis=-1),
    lambda value: jnp.where(value > 0, value, value[:, :1]),
    lambda value: jnp.einsum("ij,kj->ik", value, jnp.sin(value)),
    lambda value: value[jnp.argmax(value, axis=1) % value.shape[0]],
    lambda value: jnp.cumsum(value, axis=0) / value.shape[0],
    lambda value: jnp.sort(value, axis=1)[:, ::-1],
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(6))
def test_random_programs_keep_their_value_however_they_are_split(seed: int) -> None:
    generator = np.random.default_rng(seed)
    steps = [STEPS[index] for index in generator.integers(0, len(STEPS), 6)]

    def stage(_: Sequence[Parameters], activation: Activation) -> Activation:
        value = activation["x"]
        for step in steps:
            value = step(value)
        return {"x": value}

    taken = {"x": jax.ShapeDtypeStruct((8, 12), np.float32)}
    graph = trace(stage, (), taken)
    pairs = zip(graph.operators, traffic(graph), strict=True)
    found = [strategies(graph, operator, moved, Mesh(2, FEW_BYTES)) for operator, moved in pairs]
    chosen = [choices[int(generator.integers(len(choices)))] for choices in found]

    _, outputs = compiled(lowered(graph, chosen), (), (), drawn(taken, seed), 2)
    _, wanted = compiled(stage, (), (), drawn(taken, seed), 1)

    assert close(outputs["x"], wanted["x"])
