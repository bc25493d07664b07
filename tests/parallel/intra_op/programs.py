"""Small stages, costs that favour one sharding or another, and what a compiled program turned out to be."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from services.core.device import DeviceCosts, Link
from services.parallel.intra_op.graph import StageFunction
from services.parallel.model import Activation, Parameters, Shapes
from services.parallel.sharding import stage_mesh, whole

# Computing takes long and collectives take their latency: the fewer of them the better.
FEW_COLLECTIVES = DeviceCosts(1e8, 1e10, 1e-9, *(Link(2e-3, 1e12),) * 5)
# Collectives take as long as their bytes do: an all-reduce as long as its two halves.
FEW_BYTES = DeviceCosts(1e9, 1e10, 1e-9, *(Link(1e-9, 1e9),) * 5)
# A sum of which each device keeps a part comes cheap.
CHEAP_PARTS = replace(FEW_BYTES, all_reduce=Link(1e-3, 1e9))

_COLLECTIVE = re.compile(
    r"= (\(.*?\)|\S+) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


def block_shapes(hidden: int, dtype: str = "float32") -> Shapes:
    """The weights of one block of an encoder."""
    shapes: dict[str, tuple[int, ...]] = {"wi": (hidden, 4 * hidden), "bi": (4 * hidden,)}
    shapes |= {"wu": (4 * hidden, hidden), "bu": (hidden,)}
    for letter in "qkvo":
        shapes |= {f"w{letter}": (hidden, hidden), f"b{letter}": (hidden,)}
    for name in ("norm", "attention_norm"):
        shapes |= {f"{name}_scale": (hidden,), f"{name}_bias": (hidden,)}
    return {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in shapes.items()}


def hidden_shapes(length: int, hidden: int, dtype: str = "float32") -> Shapes:
    return {"hidden": jax.ShapeDtypeStruct((1, length, hidden), dtype)}


def encoder(num_heads: int) -> StageFunction:
    """Blocks of an encoder, one for each layer of weights."""

    def apply(parameters: Sequence[Parameters], activation: Activation) -> Activation:
        hidden = activation["hidden"]
        for weights in parameters:
            hidden = _normalize(weights, "attention_norm", hidden + _attend(weights, hidden, num_heads))
            inner = jax.nn.gelu(hidden @ weights["wi"] + weights["bi"], approximate=False)
            hidden = _normalize(weights, "norm", hidden + inner @ weights["wu"] + weights["bu"])
        return {"hidden": hidden}

    return apply


def drawn(shapes: Shapes, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Small random numbers; of whole numbers, 0 and 1."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(0, 0.4, shape.shape).astype(shape.dtype)
        if jnp.issubdtype(shape.dtype, jnp.floating)
        else generator.integers(0, 2, shape.shape).astype(shape.dtype)
        for name, shape in shapes.items()
    }


def compiled(
    apply: StageFunction,
    specs: Sequence[Mapping[str, PartitionSpec]],
    weights: Sequence[Mapping[str, NDArray[Any]]],
    inputs: Mapping[str, NDArray[Any]],
    num_devices: int,
) -> tuple[jax.stages.Compiled, dict[str, NDArray[Any]]]:
    """The stage as a group runs it, compiled, and its outputs."""
    mesh = stage_mesh(jax.devices()[:num_devices])
    placed = [
        {name: jax.device_put(value, NamedSharding(mesh, spec[name])) for name, value in layer.items()}
        for layer, spec in zip(weights, specs, strict=True)
    ]
    given = {name: jax.device_put(value, whole(mesh)) for name, value in inputs.items()}
    with jax.set_mesh(mesh):
        program = jax.jit(apply, out_shardings=whole(mesh)).lower(placed, given).compile()
    return program, {name: np.asarray(value) for name, value in program(placed, given).items()}


def collectives(program: jax.stages.Compiled) -> Counter[str]:
    """What moves between devices in a compiled program; collectives that were combined count apart."""
    found: Counter[str] = Counter()
    for results, kind in _COLLECTIVE.findall(program.as_text() or ""):
        found[kind] += 1 if kind == "all-to-all" else results.count("[")
    return found


def flops(program: jax.stages.Compiled) -> float:
    """Of one device."""
    analysis: Any = program.cost_analysis()
    return float(analysis["flops"])


def _attend(weights: Parameters, hidden: jax.Array, num_heads: int) -> jax.Array:
    batch, length, size = hidden.shape

    def project(letter: str) -> jax.Array:
        projected = hidden @ weights["w" + letter] + weights["b" + letter]
        return projected.reshape(batch, length, num_heads, size // num_heads)

    scores = jnp.einsum("bqhd,bkhd->bhqk", project("q"), project("k")) / np.float32(np.sqrt(size // num_heads))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), project("v"))
    return mixed.reshape(hidden.shape) @ weights["wo"] + weights["bo"]


def _normalize(weights: Parameters, name: str, value: jax.Array) -> jax.Array:
    centred = value - value.mean(axis=-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + np.float32(1e-6))
    return scaled * weights[f"{name}_scale"] + weights[f"{name}_bias"]
