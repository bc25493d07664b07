"""Decoders of the GPT-2 family (Radford et al., 2019) as layers: the embedding, one layer for each decoder
block, and the head. One forward pass; the output is `logits` `(vocab_size,)` of the token after the last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from services.core.model import ModelSource
from services.parallel.model import Activation, HostActivation, Index, Inputs, Outputs, Parameters, Shapes
from services.parallel.models.gpt_config import GptConfig, parse_gpt_config
from services.parallel.models.gpt_tensors import block_tensors, embedding_tensors, head_tensors
from services.parallel.models.tensors import LayerTensor, Weights, parameter_shapes, read_part
from services.parallel.models.token_inputs import TokenInputs
from services.parallel.models.transformer import (
    attend,
    attention_bias,
    embed,
    feed_forward,
    normalize,
    vocabulary_logits,
)
from services.parallel.models.weights import open_weights


class Gpt:
    """A `LayeredModel`. Requests are padded on the right with masked tokens."""

    def __init__(self, config: GptConfig, weights: Weights, *, sequence_length: int, dtype: str = "float32") -> None:
        """Raises: InvalidModel, if `sequence_length` exceeds the model's positions."""
        self._config = config
        self._weights = weights
        self._dtype = jnp.dtype(dtype)
        self._inputs = TokenInputs(sequence_length, config.vocab_size, has_length=False)
        self._inputs.check_positions(config.n_positions, "n_positions")

    @property
    def num_layers(self) -> int:
        return self._config.n_layer + 2

    def layer_parameters(self, layer: int) -> Shapes:
        return parameter_shapes(self._tensors(layer), self._dtype)

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        return read_part(self._weights, self._tensors(layer), name, index, self._dtype)

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        mask = activation["attention_mask"]
        if layer == 0:
            tokens = embed(parameters["tokens"], activation["input_ids"])
            return {"hidden": tokens + parameters["positions"], "attention_mask": mask}
        if layer < self.num_layers - 1:
            return {"hidden": _decode(self._config, parameters, activation["hidden"], mask), "attention_mask": mask}
        last = normalize(parameters, "norm", _last_token(activation["hidden"], mask), self._config.layer_norm_epsilon)
        return {"logits": vocabulary_logits(parameters["tokens"], last)}

    def example(self) -> Inputs:
        return self._inputs.example()

    def extremes(self) -> tuple[Inputs, Inputs]:
        return self._inputs.extremes()

    def input_shapes(self, batch_size: int) -> Shapes:
        return self._inputs.shapes(batch_size)

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        return self._inputs.stack(batch)

    def collect(self, activation: HostActivation) -> list[Outputs]:
        return [{"logits": row} for row in activation["logits"]]

    def _tensors(self, layer: int) -> dict[str, LayerTensor]:
        if layer == 0:
            return embedding_tensors(self._config, self._inputs.sequence_length)
        if layer < self.num_layers - 1:
            return block_tensors(self._config, layer - 1)
        return head_tensors(self._config)


def open_gpt(config: Mapping[str, Any], source: ModelSource) -> Gpt:
    """Raises: InvalidModel, if the config or the checkpoint is not supported."""
    parsed = parse_gpt_config(config)
    return Gpt(parsed, open_weights(source), sequence_length=source.sequence_length, dtype=source.dtype)


def _decode(config: GptConfig, parameters: Parameters, hidden: jax.Array, mask: jax.Array) -> jax.Array:
    bias = attention_bias(mask, is_causal=True)
    normal = normalize(parameters, "attention_norm", hidden, config.layer_norm_epsilon)
    hidden = hidden + attend(parameters, normal, bias, config.n_head)
    normal = normalize(parameters, "norm", hidden, config.layer_norm_epsilon)
    return hidden + feed_forward(parameters, normal, config.activation_function)


def _last_token(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    """The hidden state `(batch, hidden)` of each request's last attended token."""
    places = jax.lax.broadcasted_iota(jnp.int32, mask.shape, 1)
    last = jnp.where(mask != 0, places, 0).max(axis=1, keepdims=True)
    # A sum of zeros and one row, because that stays local however the hidden state is sharded.
    return jnp.where((places == last)[..., None], hidden, np.zeros((), hidden.dtype)).sum(axis=1)
