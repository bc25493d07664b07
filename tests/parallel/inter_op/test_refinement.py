"""Layers cut finer."""

import json
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.inter_op.refinement import RefinedModel
from services.parallel.model import Activation, Index, LayeredModel, Parameters, Shapes
from services.parallel.models.configs import shipped_config
from services.parallel.stage import apply_layers

FAMILIES = ("bert-tiny", "gpt-tiny", "moe-tiny", "wide-resnet-tiny")


def opened(name: str, **changes: Any) -> LayeredModel:
    config = {**shipped_config(name), **changes}
    return open_model(ModelSource(config=json.dumps(config), seed=3, sequence_length=16))


def read_all(model: LayeredModel) -> list[dict[str, NDArray[Any]]]:
    return [
        {name: model.read(layer, name, (slice(None),) * len(shape.shape)) for name, shape in shapes.items()}
        for layer, shapes in enumerate(map(model.layer_parameters, range(model.num_layers)))
    ]


def outputs(model: LayeredModel, batch_size: int) -> list[dict[str, NDArray[Any]]]:
    prepared = model.prepare([model.example()] * batch_size)
    program = jax.jit(partial(apply_layers, model, range(model.num_layers)))
    return model.collect(jax.device_get(program(read_all(model), prepared)))


def activations(model: LayeredModel, batch_size: int) -> list[Shapes]:
    shapes = [model.input_shapes(batch_size)]
    for layer in range(model.num_layers):
        shapes.append(jax.eval_shape(partial(model.apply_layer, layer), model.layer_parameters(layer), shapes[-1]))
    return shapes


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("bert-tiny", {"num_hidden_layers": 1}),
        ("gpt-tiny", {"n_layer": 1}),
        ("moe-tiny", {"num_hidden_layers": 2}),
        ("wide-resnet-tiny", {}),
    ],
)
def test_a_refined_model_gives_the_same_outputs(name: str, changes: dict[str, int]) -> None:
    model = opened(name, **changes)
    refined = RefinedModel(model)

    pairs = zip(outputs(model, 3), outputs(refined, 3), strict=True)

    assert refined.num_layers > model.num_layers
    for expected, given in pairs:
        assert expected.keys() == given.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(given[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_crosses_is_no_wider_than_a_border_and_has_a_row_per_request(name: str) -> None:
    refined = RefinedModel(opened(name))

    widest = max(num_bytes(shapes) for shapes in activations(opened(name), 3))
    for shapes in activations(refined, 3):
        assert {shape.shape[0] for shape in shapes.values()} == {3}
        assert num_bytes(shapes) <= 1.1 * widest


def num_bytes(shapes: Shapes) -> int:
    return sum(shape.size * shape.dtype.itemsize for shape in shapes.values())


def test_a_block_becomes_its_attention_and_its_feed_forward_network() -> None:
    refined = RefinedModel(opened("bert-tiny"))

    assert {"wq", "wk", "wv", "wo"} <= refined.layer_parameters(1).keys()
    assert {"wi", "wu"} <= refined.layer_parameters(2).keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_stays_in_one_piece_of_its_layer(name: str) -> None:
    model = opened(name)
    refined = RefinedModel(model)

    first = refined.refined_boundaries(range(model.num_layers + 1))
    for layer, (start, stop) in enumerate(pairwise(first)):
        names = [name for piece in range(start, stop) for name in refined.layer_parameters(piece)]
        assert sorted(names) == sorted(model.layer_parameters(layer))


def test_the_ends_of_a_refined_model_are_those_of_the_model() -> None:
    model = opened("gpt-tiny")
    refined = RefinedModel(model)

    assert refined.refined_boundaries((0, model.num_layers)) == (0, refined.num_layers)


class Fickle:
    """Two products in one layer; batches of more than two take another way between them."""

    num_layers = 1

    def layer_parameters(self, layer: int) -> Shapes:
        return {name: jax.ShapeDtypeStruct((4, 4), jnp.float32) for name in ("first", "second")}

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        return np.ones((4, 4), np.float32)[index]

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        hidden = activation["hidden"] @ parameters["first"]
        return {"hidden": (jnp.tanh(hidden) if len(hidden) > 2 else hidden) @ parameters["second"]}

    def example(self) -> dict[str, NDArray[Any]]:
        return {"hidden": np.ones(4, np.float32)}

    def input_shapes(self, batch_size: int) -> Shapes:
        return {"hidden": jax.ShapeDtypeStruct((batch_size, 4), jnp.float32)}

    def prepare(self, batch: Any) -> dict[str, NDArray[Any]]:
        return {"hidden": np.stack([request["hidden"] for request in batch])}

    def collect(self, activation: Any) -> list[dict[str, NDArray[Any]]]:
        return [{"hidden": row} for row in activation["hidden"]]


def test_a_layer_that_changes_with_the_batch_size_is_refused_where_it_does() -> None:
    refined = RefinedModel(Fickle())

    assert refined.num_layers == 2
    assert [row["hidden"].tolist() for row in outputs(refined, 2)] == [[16.0] * 4] * 2
    with pytest.raises(InvalidModel, match="layer 0 has another program for 3 requests than for 1"):
        outputs(refined, 3)
