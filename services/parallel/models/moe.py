"""Encoders with a mixture of experts in every second block (GShard; in Alpa's sizes) as layers: the
embedding, one layer for each block, and the head of a masked language model.

The outputs are `predicted_ids` and `predicted_logits` `(length,)`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from numpy.typing import NDArray

from services.core.model import ModelSource
from services.parallel.model import Activation, HostActivation, Index, Inputs, Outputs, Parameters, Shapes
from services.parallel.models.experts import mix_experts
from services.parallel.models.moe_config import MoeConfig, parse_moe_config
from services.parallel.models.moe_tensors import block_tensors, embedding_tensors, head_tensors
from services.parallel.models.tensors import LayerTensor, Weights, parameter_shapes, read_part
from services.parallel.models.token_inputs import TokenInputs
from services.parallel.models.transformer import (
    attend,
    attention_bias,
    cut_predictions,
    embed,
    feed_forward,
    normalize,
    predict_masked,
)
from services.parallel.models.weights import open_weights


class Moe:
    """A `LayeredModel`. Requests are padded to the sequence length with masked tokens."""

    def __init__(self, config: MoeConfig, weights: Weights, *, sequence_length: int, dtype: str = "float32") -> None:
        """Raises: InvalidModel, if `sequence_length` exceeds the model's positions."""
        self._config = config
        self._weights = weights
        self._dtype = jnp.dtype(dtype)
        self._inputs = TokenInputs(sequence_length, config.vocab_size)
        self._inputs.check_positions(config.max_position_embeddings)

    @property
    def num_layers(self) -> int:
        return self._config.num_hidden_layers + 2

    def layer_parameters(self, layer: int) -> Shapes:
        return parameter_shapes(self._tensors(layer), self._dtype)

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        return read_part(self._weights, self._tensors(layer), name, index, self._dtype)

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        if layer == self.num_layers - 1:
            config = self._config
            predicted = predict_masked(parameters, activation["hidden"], config.hidden_act, config.layer_norm_eps)
            return {"length": activation["length"], **predicted}
        kept = {name: activation[name] for name in ("attention_mask", "length")}
        if layer > 0:
            return {**kept, "hidden": self._encode(layer, parameters, activation)}
        summed = embed(parameters["tokens"], activation["input_ids"]) + parameters["positions"]
        return {**kept, "hidden": normalize(parameters, "norm", summed, self._config.layer_norm_eps)}

    def example(self) -> Inputs:
        return self._inputs.example()

    def extremes(self) -> tuple[Inputs, Inputs]:
        return self._inputs.extremes()

    def input_shapes(self, batch_size: int) -> Shapes:
        return self._inputs.shapes(batch_size)

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        return self._inputs.stack(batch)

    def collect(self, activation: HostActivation) -> list[Outputs]:
        return cut_predictions(activation)

    def _tensors(self, layer: int) -> dict[str, LayerTensor]:
        if layer == 0:
            return embedding_tensors(self._config, self._inputs.sequence_length)
        if layer < self.num_layers - 1:
            return block_tensors(self._config, layer, has_experts=_has_experts(layer))
        return head_tensors(self._config, layer)

    def _encode(self, layer: int, parameters: Parameters, activation: Activation) -> jax.Array:
        config, mask = self._config, activation["attention_mask"]
        hidden = activation["hidden"]
        attended = attend(parameters, hidden, attention_bias(mask), config.num_attention_heads)
        hidden = normalize(parameters, "attention_norm", hidden + attended, config.layer_norm_eps)
        if _has_experts(layer):
            capacity = config.capacity(self._inputs.sequence_length)
            output = mix_experts(parameters, hidden, mask, capacity=capacity, nonlinearity=config.hidden_act)
        else:
            output = feed_forward(parameters, hidden, config.hidden_act)
        return normalize(parameters, "norm", hidden + output, config.layer_norm_eps)


def open_moe(config: Mapping[str, Any], source: ModelSource) -> Moe:
    """Raises: InvalidModel, if the config or the checkpoint is not supported."""
    parsed = parse_moe_config(config)
    return Moe(parsed, open_weights(source), sequence_length=source.sequence_length, dtype=source.dtype)


def _has_experts(layer: int) -> bool:
    # Layer 0 is the embedding: of the blocks, the second, the fourth and so on.
    return layer % 2 == 0
