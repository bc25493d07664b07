"""A model of one's own: linear maps with a rectifier between them, a layer each. A checkpoint is a directory
with `config.json` (`{"model_type": "mlp", "sizes": [4, 16, 2]}`) and `w0.npy`, `b0.npy`, `w1.npy`, …"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidInput
from services.core.model import ModelSource
from services.parallel.model import Activation, HostActivation, Index, Inputs, Outputs, Parameters, Shapes


class Mlp:
    """A `LayeredModel` that takes `x` `(sizes[0],)` and gives `y` `(sizes[-1],)`, both float32."""

    def __init__(self, directory: Path, sizes: Sequence[int]) -> None:
        self._directory = directory
        self._sizes = sizes
        self.num_layers = len(sizes) - 1

    def layer_parameters(self, layer: int) -> Shapes:
        taken, given = self._sizes[layer : layer + 2]
        return {"w": jax.ShapeDtypeStruct((taken, given), np.float32), "b": jax.ShapeDtypeStruct((given,), np.float32)}

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        return np.array(np.load(self._directory / f"{name}{layer}.npy", mmap_mode="r")[index])

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        y = activation["x"] @ parameters["w"] + parameters["b"]
        return {"x": jax.nn.relu(y)} if layer < self.num_layers - 1 else {"y": y}

    def example(self) -> Inputs:
        return {"x": np.ones(self._sizes[0], np.float32)}

    def input_shapes(self, batch_size: int) -> Shapes:
        return {"x": jax.ShapeDtypeStruct((batch_size, self._sizes[0]), np.float32)}

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        for inputs in batch:
            if inputs.keys() != {"x"} or inputs["x"].shape != (self._sizes[0],):
                raise InvalidInput(f"expected x of shape ({self._sizes[0]},), got {sorted(inputs)}")
        return {"x": np.stack([inputs["x"].astype(np.float32) for inputs in batch])}

    def collect(self, activation: HostActivation) -> list[Outputs]:
        return [{"y": row} for row in activation["y"]]


def open_mlp(config: Mapping[str, Any], source: ModelSource) -> Mlp:
    return Mlp(Path(source.checkpoint), config["sizes"])
