"""Residual networks with wide bottlenecks (He et al., 2015; Zagoruyko and Komodakis, 2016; in Alpa's sizes)
as layers: the stem, one layer for each residual block, and the head. The output is `logits` `(num_classes,)`.

Images are (height, width, channels) throughout and kernels (height, width, inputs, outputs). Strides and
padding are those of the usual ResNet-50, the stride of a block in its second convolution.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from services.core.model import ModelSource
from services.parallel.model import Activation, HostActivation, Index, Inputs, Outputs, Parameters, Shapes
from services.parallel.models.pixel_inputs import PixelInputs
from services.parallel.models.tensors import LayerTensor, Weights, parameter_shapes, read_part
from services.parallel.models.weights import open_weights
from services.parallel.models.wide_resnet_config import WideResNetConfig, parse_wide_resnet_config
from services.parallel.models.wide_resnet_tensors import block_tensors, head_tensors, stem_tensors

_AXES = ("NHWC", "HWIO", "NHWC")


class WideResNet:
    """A `LayeredModel` of images."""

    def __init__(self, config: WideResNetConfig, weights: Weights, *, dtype: str = "float32") -> None:
        self._config = config
        self._blocks = config.blocks()
        self._weights = weights
        self._dtype = jnp.dtype(dtype)
        self._inputs = PixelInputs(config.image_size)

    @property
    def num_layers(self) -> int:
        return len(self._blocks) + 2

    def layer_parameters(self, layer: int) -> Shapes:
        return parameter_shapes(self._tensors(layer), self._dtype)

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        return read_part(self._weights, self._tensors(layer), name, index, self._dtype)

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        epsilon = self._config.batch_norm_eps
        if layer == 0:
            return {"image": _stem(parameters, activation["pixels"].astype(self._dtype), epsilon)}
        if layer < self.num_layers - 1:
            return {"image": _block(parameters, activation["image"], self._blocks[layer - 1].stride, epsilon)}
        features = activation["image"].mean(axis=(1, 2), dtype=jnp.float32).astype(self._dtype)
        logits = jnp.einsum("bf,fc->bc", features, parameters["wh"], preferred_element_type=jnp.float32)
        return {"logits": logits + parameters["bh"]}

    def example(self) -> Inputs:
        return self._inputs.example()

    def input_shapes(self, batch_size: int) -> Shapes:
        return self._inputs.shapes(batch_size)

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        return self._inputs.stack(batch)

    def collect(self, activation: HostActivation) -> list[Outputs]:
        return [{"logits": row} for row in activation["logits"]]

    def _tensors(self, layer: int) -> dict[str, LayerTensor]:
        if layer == 0:
            return stem_tensors(self._config)
        if layer < self.num_layers - 1:
            return block_tensors(self._blocks[layer - 1], layer)
        return head_tensors(self._config, layer)


def open_wide_resnet(config: Mapping[str, Any], source: ModelSource) -> WideResNet:
    """Raises: InvalidModel, if the config or the checkpoint is not supported."""
    return WideResNet(parse_wide_resnet_config(config), open_weights(source), dtype=source.dtype)


def _stem(parameters: Parameters, pixels: jax.Array, epsilon: float) -> jax.Array:
    image = _convolve(pixels, parameters["conv1"], stride=2)
    image = jax.nn.relu(_normalize(parameters, "norm1", image, epsilon))
    lowest = np.asarray(-np.inf, image.dtype)
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    pooled: jax.Array = jax.lax.reduce_window(image, lowest, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
    return pooled


def _block(parameters: Parameters, image: jax.Array, stride: int, epsilon: float) -> jax.Array:
    inner = jax.nn.relu(_normalize(parameters, "norm1", _convolve(image, parameters["conv1"]), epsilon))
    inner = jax.nn.relu(_normalize(parameters, "norm2", _convolve(inner, parameters["conv2"], stride), epsilon))
    inner = _normalize(parameters, "norm3", _convolve(inner, parameters["conv3"]), epsilon)
    if "shortcut" in parameters:
        image = _normalize(parameters, "shortcut_norm", _convolve(image, parameters["shortcut"], stride), epsilon)
    return jax.nn.relu(image + inner)


def _convolve(image: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    edge = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        image, kernel, (stride, stride), ((edge, edge), (edge, edge)), dimension_numbers=_AXES
    )


def _normalize(parameters: Parameters, name: str, image: jax.Array, epsilon: float) -> jax.Array:
    """Batch normalisation by the statistics of training."""
    mean, variance = (parameters[f"{name}_{part}"].astype(jnp.float32) for part in ("mean", "variance"))
    scale = parameters[f"{name}_scale"] * jax.lax.rsqrt(variance + np.float32(epsilon))
    normal = (image.astype(jnp.float32) - mean) * scale + parameters[f"{name}_bias"]
    return normal.astype(image.dtype)
