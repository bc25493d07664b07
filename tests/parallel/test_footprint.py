"""What layers compute and hold, read off their graphs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.footprint import footprints
from services.parallel.model import Shapes

MODELS = ("bert-small", "gpt-small", "moe-small", "wide-resnet-small")


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_two_is_twice_the_work_and_the_memory(name: str) -> None:
    model = open_model(ModelSource(config=name, sequence_length=64))

    single, double = (footprints(model, batch_size) for batch_size in (1, 2))

    assert len(single) == model.num_layers
    assert sum(one.flops for one in double) == pytest.approx(2 * sum(one.flops for one in single), rel=0.05)
    assert max(one.activation_bytes for one in double) == pytest.approx(
        2 * max(one.activation_bytes for one in single), rel=0.1
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_layer_holds_what_its_program_does_within_a_factor(name: str) -> None:
    model = open_model(ModelSource(config=name, sequence_length=64))
    takes = model.input_shapes(1)
    ratios = []
    for layer, found in enumerate(footprints(model, 1)):
        parameters = model.layer_parameters(layer)
        ratios.append(found.activation_bytes / compiled_bytes(partial(model.apply_layer, layer), parameters, takes))
        takes = jax.eval_shape(partial(model.apply_layer, layer), dict(parameters), dict(takes))
    assert 0.5 < np.median(ratios) < 2


def compiled_bytes(apply: Callable[..., Any], parameters: Shapes, takes: Shapes) -> float:
    """Inputs, temporaries and outputs of the compiled layer."""
    memory: Any = jax.jit(apply).lower(dict(parameters), dict(takes)).compile().memory_analysis()
    weights = sum(shape.size * shape.dtype.itemsize for shape in parameters.values())
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return float(held - weights)
