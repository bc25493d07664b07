"""Wide-ResNet against convolutions written out in numpy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import LayeredModel, Outputs
from services.parallel.models.configs import shipped_config
from services.parallel.models.wide_resnet import WideResNet
from services.parallel.models.wide_resnet_config import parse_wide_resnet_config

Array = NDArray[Any]
Parameters = dict[str, Array]
CONFIG = shipped_config("wide-resnet-tiny")
STRIDES = (1, 2, 1)


def windows(image: Array, edge: int, stride: int, fill: float) -> Array:
    """The windows of an image `(height, width, channels)`, `(rows, columns, channels, edge, edge)`."""
    border = edge // 2
    padded = np.pad(image, ((border, border), (border, border), (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (edge, edge), axis=(0, 1))[::stride, ::stride]


def convolved(image: Array, kernel: Array, stride: int = 1) -> Array:
    return np.asarray(np.einsum("rcihw,hwio->rco", windows(image, kernel.shape[0], stride, 0.0), kernel))


def normalized(parameters: Parameters, name: str, image: Array) -> Array:
    mean, variance = parameters[f"{name}_mean"], parameters[f"{name}_variance"]
    return (image - mean) / np.sqrt(variance + 1e-5) * parameters[f"{name}_scale"] + parameters[f"{name}_bias"]


def reference_block(parameters: Parameters, image: Array, stride: int) -> Array:
    inner = np.maximum(normalized(parameters, "norm1", convolved(image, parameters["conv1"])), 0)
    inner = np.maximum(normalized(parameters, "norm2", convolved(inner, parameters["conv2"], stride)), 0)
    inner = normalized(parameters, "norm3", convolved(inner, parameters["conv3"]))
    if "shortcut" in parameters:
        image = normalized(parameters, "shortcut_norm", convolved(image, parameters["shortcut"], stride))
    return np.asarray(np.maximum(image + inner, 0))


def reference_logits(layers: list[Parameters], pixels: Array) -> Array:
    stem, *blocks, head = layers
    image = np.maximum(normalized(stem, "norm1", convolved(pixels, stem["conv1"], 2)), 0)
    image = windows(image, 3, 2, -np.inf).max(axis=(3, 4))
    for parameters, stride in zip(blocks, STRIDES, strict=True):
        image = reference_block(parameters, image, stride)
    return np.asarray(image.mean(axis=(0, 1)) @ head["wh"] + head["bh"])


@pytest.mark.parametrize("image_size", [32, 37])
def test_logits_are_those_of_the_written_out_network(
    image_size: int,
    perturbed_weights: Any,
    forward: Callable[..., list[Outputs]],
    layer_parameters: Callable[[LayeredModel, int], Parameters],
) -> None:
    config = parse_wide_resnet_config({**CONFIG, "image_size": image_size})
    model = WideResNet(config, perturbed_weights)
    pixels = np.random.default_rng(1).normal(size=(image_size, image_size, 3)).astype(np.float32)

    (outputs,) = forward(model, [{"pixels": pixels}])

    layers = [layer_parameters(model, layer) for layer in range(model.num_layers)]
    np.testing.assert_allclose(outputs["logits"], reference_logits(layers, pixels), rtol=1e-4, atol=1e-5)


def test_channels_double_by_stage_and_the_second_convolution_is_the_wide_one() -> None:
    model = open_model(ModelSource(config=json.dumps({**CONFIG, "width_factor": 3})))

    kernels = [
        {name: shape.shape for name, shape in model.layer_parameters(layer).items() if len(shape.shape) == 4}
        for layer in range(1, 4)
    ]

    assert kernels == [
        {"conv1": (1, 1, 8, 8), "conv2": (3, 3, 8, 24), "conv3": (1, 1, 24, 32), "shortcut": (1, 1, 8, 32)},
        {"conv1": (1, 1, 32, 16), "conv2": (3, 3, 16, 48), "conv3": (1, 1, 48, 64), "shortcut": (1, 1, 32, 64)},
        {"conv1": (1, 1, 64, 16), "conv2": (3, 3, 16, 48), "conv3": (1, 1, 48, 64)},
    ]


def test_a_checkpoint_of_held_tensors_is_the_same_model(
    tmp_path: Path,
    forward: Callable[..., list[Outputs]],
    layer_parameters: Callable[[LayeredModel, int], Parameters],
) -> None:
    drawn = open_model(ModelSource(config="wide-resnet-tiny", seed=4))
    tensors = {
        f"layers.{layer}.{name}": value
        for layer in range(drawn.num_layers)
        for name, value in layer_parameters(drawn, layer).items()
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    stored = open_model(ModelSource(checkpoint=str(tmp_path)))

    (outputs,) = forward(stored, [stored.example()])

    np.testing.assert_array_equal(outputs["logits"], forward(drawn, [drawn.example()])[0]["logits"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stage_sizes": []}, r"stage_sizes must be a list of positive integers, got \[\]"),
        ({"stage_sizes": [1, 0]}, r"stage_sizes must be a list of positive integers, got \[1, 0\]"),
        ({"stage_sizes": 3}, "stage_sizes must be a list of positive integers, got 3"),
        ({"width_factor": 0}, "width_factor must be a positive integer, got 0"),
        ({"num_filters": "8"}, "num_filters must be a positive integer, got '8'"),
        ({"batch_norm_eps": 2}, "batch_norm_eps must be a number between 0 and 1, got 2"),
    ],
)
def test_an_unsupported_config_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidModel, match=named):
        open_model(ModelSource(config=json.dumps({**CONFIG, **change})))
