"""Models as plain programs of one device: no stages, no meshes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from services.parallel.model import Activation, HostActivation, Inputs, LayeredModel, Outputs, Parameters, Shapes
from services.parallel.models.random_weights import RandomWeights

Forward = Callable[..., list[Outputs]]


@pytest.fixture
def layer_parameters() -> Callable[[LayeredModel, int], dict[str, NDArray[Any]]]:
    return _layer_parameters


@pytest.fixture
def run_layers() -> Callable[[LayeredModel, range, HostActivation], HostActivation]:
    """Runs some layers, each a program of its own, because like layers compile once."""

    def run(model: LayeredModel, layers: range, activation: HostActivation) -> HostActivation:
        for layer in layers:
            activation = _run_stage(model, range(layer, layer + 1), activation)
        return activation

    return run


@pytest.fixture
def forward() -> Forward:
    """What a model answers a batch, with its layers cut at `boundaries` (by default everywhere)."""

    def run(model: LayeredModel, batch: Sequence[Inputs], boundaries: Sequence[int] | None = None) -> list[Outputs]:
        activation = model.prepare(batch)
        for start, stop in pairwise(boundaries or range(model.num_layers + 1)):
            activation = _run_stage(model, range(start, stop), activation)
        return model.collect(activation)

    return run


class PerturbedWeights:
    """Random weights of which no scale is 1 and no bias is 0."""

    def __init__(self, seed: int) -> None:
        self._weights = RandomWeights(seed)

    def read(self, stored: Any, index: Any, dtype: Any) -> NDArray[Any]:
        return self._weights.read(replace(stored, spread=stored.spread or 0.1), index, dtype)


@pytest.fixture
def perturbed_weights() -> PerturbedWeights:
    return PerturbedWeights(5)


def _layer_parameters(model: LayeredModel, layer: int) -> dict[str, NDArray[Any]]:
    shapes: Shapes = model.layer_parameters(layer)
    return {name: model.read(layer, name, (slice(None),) * len(shape.shape)) for name, shape in shapes.items()}


def _run_stage(model: LayeredModel, layers: range, activation: HostActivation) -> HostActivation:
    result = _program(model.apply_layer, layers)([_layer_parameters(model, layer) for layer in layers], activation)
    return {name: np.asarray(value) for name, value in result.items()}


@cache
def _program(
    apply_layer: Callable[[int, Parameters, Activation], Activation], layers: range
) -> Callable[..., Activation]:
    def stage(parameters: list[Parameters], activation: Activation) -> Activation:
        for layer, layer_parameters in zip(layers, parameters, strict=True):
            activation = apply_layer(layer, layer_parameters, activation)
        return activation

    # The programs are tiny: compiling them is what takes time.
    compiled: Callable[..., Activation] = jax.jit(stage, compiler_options={"xla_backend_optimization_level": 0})
    return compiled
