"""The tensors of each layer of a Wide-ResNet. A checkpoint keeps them as they are held, under the names
`layers.0.conv1`, `layers.1.norm2_scale`, …"""

import math

from services.parallel.models.tensors import LayerTensor, layer_name, whole_tensor
from services.parallel.models.wide_resnet_config import Block, WideResNetConfig


def stem_tensors(config: WideResNetConfig) -> dict[str, LayerTensor]:
    return {
        "conv1": _kernel(0, "conv1", 7, 3, config.num_filters),
        **_norm(0, "norm1", config.num_filters),
    }


def block_tensors(block: Block, layer: int) -> dict[str, LayerTensor]:
    """The tensors of one residual block."""
    tensors = {
        "conv1": _kernel(layer, "conv1", 1, block.taken, block.narrow),
        **_norm(layer, "norm1", block.narrow),
        "conv2": _kernel(layer, "conv2", 3, block.narrow, block.wide),
        **_norm(layer, "norm2", block.wide),
        "conv3": _kernel(layer, "conv3", 1, block.wide, block.given),
        # A quarter, so that random blocks hardly let the image grow with depth.
        **_norm(layer, "norm3", block.given, scale=0.25),
    }
    if block.has_shortcut:
        tensors["shortcut"] = _kernel(layer, "shortcut", 1, block.taken, block.given)
        tensors |= _norm(layer, "shortcut_norm", block.given)
    return tensors


def head_tensors(config: WideResNetConfig, layer: int) -> dict[str, LayerTensor]:
    shape = (config.num_features, config.num_classes)
    return {
        "wh": whole_tensor(layer_name(layer, "wh"), shape, spread=math.sqrt(1 / config.num_features)),
        "bh": whole_tensor(layer_name(layer, "bh"), shape[1:]),
    }


def _kernel(layer: int, name: str, edge: int, taken: int, given: int) -> LayerTensor:
    # He et al., 2015: what a rectified layer gives has the spread of what it takes.
    spread = math.sqrt(2 / (edge * edge * taken))
    return whole_tensor(layer_name(layer, name), (edge, edge, taken, given), spread=spread)


def _norm(layer: int, prefix: str, size: int, scale: float = 1.0) -> dict[str, LayerTensor]:
    means = {"scale": scale, "bias": 0.0, "mean": 0.0, "variance": 1.0}
    return {
        f"{prefix}_{part}": whole_tensor(layer_name(layer, f"{prefix}_{part}"), (size,), mean=mean)
        for part, mean in means.items()
    }
