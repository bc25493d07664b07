"""What holds for each kind of model, on its tiny config."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.errors import InvalidArgument, InvalidInput
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import Inputs, LayeredModel, Outputs

MODELS = ("bert-tiny", "gpt-tiny", "moe-tiny", "wide-resnet-tiny")
TOKEN_MODELS = MODELS[:3]
Forward = Callable[..., list[Outputs]]


def opened(name: str, **fields: Any) -> LayeredModel:
    return open_model(ModelSource(config=name, **{"seed": 2, "sequence_length": 16, **fields}))


def requests(model: LayeredModel, seed: int = 3) -> list[Inputs]:
    """Three that differ; in length too, where the model reads tokens."""
    generator = np.random.default_rng(seed)
    if "pixels" in model.example():
        return [{"pixels": generator.normal(size=(32, 32, 3)).astype(np.float32)} for _ in range(3)]
    return [{"input_ids": generator.integers(64, size=length)} for length in (5, 11, 16)]


def assert_all_close(actual: list[Outputs], expected: list[Outputs]) -> None:
    assert [outputs.keys() for outputs in actual] == [outputs.keys() for outputs in expected]
    for outputs, wanted in zip(actual, expected, strict=True):
        for name, values in wanted.items():
            np.testing.assert_allclose(outputs[name], values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_layers_give_the_same_in_one_program_and_each_in_its_own(name: str, forward: Forward) -> None:
    model = opened(name)
    expected = forward(model, requests(model), (0, *range(3, model.num_layers + 1)))

    outputs = forward(model, requests(model), range(model.num_layers + 1))

    assert_all_close(outputs, expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_request_is_answered_alike_in_any_company(name: str, forward: Forward) -> None:
    model = opened(name)
    first, second, third = requests(model)
    stranger, other, _ = requests(model, seed=4)

    expected = forward(model, [first, second, third])

    assert_all_close(forward(model, [third, stranger, first])[::2], [expected[2], expected[0]])
    assert_all_close(forward(model, [other, second, stranger])[1:2], expected[1:2])


@pytest.mark.parametrize("name", TOKEN_MODELS)
def test_what_lies_in_the_padding_changes_nothing(
    name: str, run_layers: Callable[..., dict[str, NDArray[Any]]]
) -> None:
    model = opened(name)
    clean = model.prepare(requests(model))
    dirty = {**clean, "input_ids": np.where(clean["attention_mask"] == 0, 33, clean["input_ids"])}

    expected, outputs = (
        model.collect(run_layers(model, range(model.num_layers), activation)) for activation in (clean, dirty)
    )

    assert_all_close(outputs, expected)


@pytest.mark.parametrize("name", MODELS)
def test_seeds_make_different_models(name: str, forward: Forward) -> None:
    model, other = opened(name), opened(name, seed=9)
    batch = requests(model)

    outputs, others = forward(model, batch), forward(other, batch)

    assert_all_close(forward(opened(name), batch), outputs)
    assert not any(np.allclose(outputs[0][key], others[0][key], rtol=1e-2) for key in outputs[0])


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [*((name, "bfloat16", 0.1) for name in MODELS), *((name, "float16", 0.02) for name in MODELS[1::2])],
)
def test_a_shorter_dtype_computes_nearly_the_same(name: str, dtype: str, tolerance: float, forward: Forward) -> None:
    model, short = opened(name), opened(name, dtype=dtype)
    key = "predicted_logits" if name in ("bert-tiny", "moe-tiny") else "logits"

    expected, outputs = forward(model, requests(model))[0], forward(short, requests(model))[0]

    assert {value.dtype for value in outputs.values()} <= {np.dtype(np.float32), np.dtype(np.int32)}
    np.testing.assert_allclose(outputs[key], expected[key], atol=tolerance)
    assert not np.array_equal(outputs[key], expected[key])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_read_and_handed_on_has_the_shapes_and_dtypes_that_are_announced(name: str, dtype: str) -> None:
    model = opened(name, dtype=dtype)
    activation = model.input_shapes(3)
    prepared = model.prepare(requests(model))
    assert {key: (value.shape, value.dtype) for key, value in prepared.items()} == {
        key: (shape.shape, shape.dtype) for key, shape in activation.items()
    }

    for layer in range(model.num_layers):
        shapes = model.layer_parameters(layer)
        for key, shape in shapes.items():
            value = model.read(layer, key, (slice(None),) * len(shape.shape))
            assert (value.shape, value.dtype) == (shape.shape, np.dtype(dtype))
        activation = jax.eval_shape(
            lambda parameters, taken, layer=layer: model.apply_layer(layer, parameters, taken), shapes, activation
        )

        assert {shape.shape[0] for shape in activation.values()} == {3}
        inner = [shape.dtype for key, shape in activation.items() if key in ("hidden", "image")]
        assert inner == ([np.dtype(dtype)] if layer < model.num_layers - 1 else [])


@pytest.mark.parametrize("name", TOKEN_MODELS)
def test_the_input_and_output_token_tables_are_one(
    name: str, layer_parameters: Callable[[LayeredModel, int], dict[str, NDArray[Any]]]
) -> None:
    model = opened(name)

    first, last = layer_parameters(model, 0), layer_parameters(model, model.num_layers - 1)

    np.testing.assert_array_equal(first["tokens"], last["tokens"])


def test_a_tensor_that_a_layer_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="no tensor 'wx', only wq, bq, "):
        opened("bert-tiny").read(1, "wx", (slice(None),))


@pytest.mark.parametrize("index", [(slice(None),), (slice(0, 4, 2), slice(None)), (slice(None),) * 3])
def test_a_part_that_is_no_range_of_each_axis_is_refused(index: tuple[slice, ...]) -> None:
    with pytest.raises(InvalidArgument, match=r"one slice with step 1 for each axis of \(32, 32\)"):
        opened("bert-tiny").read(1, "wq", index)


@pytest.mark.parametrize("name", ["gpt-tiny", "moe-tiny"])
def test_a_model_without_token_types_takes_none(name: str) -> None:
    ids = np.array([1, 2])

    with pytest.raises(InvalidInput, match="unknown input 'token_type_ids': this model takes input_ids"):
        opened(name).prepare([{"input_ids": ids, "token_type_ids": ids}])


PIXELS = np.zeros((32, 32, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({}, "missing input 'pixels'"),
        ({"pixels": PIXELS, "input_ids": PIXELS}, "unknown input 'input_ids'"),
        ({"pixels": PIXELS.astype(np.float64)}, "pixels has dtype float64"),
        ({"pixels": PIXELS[:31]}, r"pixels has shape \(31, 32, 3\), expected \(32, 32, 3\)"),
        ({"pixels": np.where(np.arange(3) == 1, np.nan, PIXELS).astype(np.float32)}, r"pixels\[0, 0, 1\] is nan"),
    ],
)
def test_a_malformed_image_is_refused_by_name(inputs: dict[str, NDArray[Any]], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        opened("wide-resnet-tiny").prepare([{"pixels": PIXELS}, inputs])
