"""Encoders of the BERT family (Devlin et al., 2018) as layers: the embedding, one layer for each encoder
block and, last, what the source asks for: the pooling of a sentence-transformers directory, the head of
a masked language model, or nothing.

The outputs are `embedding` `(hidden_size,)`, or `predicted_ids` and `predicted_logits` `(length,)`, or
`last_hidden_state` `(length, hidden_size)`; other heads in a checkpoint are not read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from services.core.model import ModelSource
from services.parallel.model import Activation, HostActivation, Index, Inputs, Outputs, Parameters, Shapes
from services.parallel.models.bert_config import BertConfig, parse_bert_config
from services.parallel.models.bert_tensors import block_tensors, embedding_tensors, masked_lm_tensors
from services.parallel.models.config_values import Config
from services.parallel.models.sentence_pooling import SentencePooling, read_sentence_pooling
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


class Bert:
    """A `LayeredModel`. Requests are padded to the sequence length with masked tokens."""

    def __init__(
        self,
        config: BertConfig,
        weights: Weights,
        *,
        sequence_length: int,
        dtype: str = "float32",
        pooling: SentencePooling | None = None,
    ) -> None:
        """Raises: InvalidModel, if `sequence_length` exceeds the model's positions."""
        self._config = config
        self._weights = weights
        self._dtype = jnp.dtype(dtype)
        self._pooling = pooling
        self._inputs = TokenInputs(
            sequence_length, config.vocab_size, config.type_vocab_size, has_length=pooling is None
        )
        self._inputs.check_positions(config.max_position_embeddings)

    @property
    def num_layers(self) -> int:
        return self._last_layer + (self._pooling is not None or self._config.has_masked_lm)

    @property
    def _last_layer(self) -> int:
        return 1 + self._config.num_hidden_layers

    def layer_parameters(self, layer: int) -> Shapes:
        return parameter_shapes(self._tensors(layer), self._dtype)

    def read(self, layer: int, name: str, index: Index) -> NDArray[Any]:
        return read_part(self._weights, self._tensors(layer), name, index, self._dtype)

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        if layer == 0:
            return _embed(self._config, parameters, activation)
        if layer < self._last_layer:
            return {**activation, "hidden": _encode(self._config, parameters, activation)}
        if self._pooling is not None:
            return {"embedding": _pool(self._pooling, activation)}
        config = self._config
        predicted = predict_masked(parameters, activation["hidden"], config.hidden_act, config.layer_norm_eps)
        return {"length": activation["length"], **predicted}

    def example(self) -> Inputs:
        return self._inputs.example()

    def extremes(self) -> tuple[Inputs, Inputs]:
        return self._inputs.extremes()

    def input_shapes(self, batch_size: int) -> Shapes:
        return self._inputs.shapes(batch_size)

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        return self._inputs.stack(batch)

    def collect(self, activation: HostActivation) -> list[Outputs]:
        if self._pooling is not None:
            return [{"embedding": row} for row in activation["embedding"]]
        if self._config.has_masked_lm:
            return cut_predictions(activation)
        rows = zip(activation["hidden"], activation["length"], strict=True)
        return [{"last_hidden_state": hidden[:length].astype(np.float32, copy=False)} for hidden, length in rows]

    def _tensors(self, layer: int) -> dict[str, LayerTensor]:
        if layer == 0:
            return embedding_tensors(self._config, self._inputs.sequence_length)
        if layer < self._last_layer:
            return block_tensors(self._config, layer - 1)
        return {} if self._pooling is not None else masked_lm_tensors(self._config)


def open_bert(config: Config, source: ModelSource) -> Bert:
    """Raises: InvalidModel, if the config or the checkpoint is not supported."""
    pooling = read_sentence_pooling(Path(source.checkpoint)) if source.checkpoint else None
    return Bert(
        parse_bert_config(config),
        open_weights(source),
        sequence_length=source.sequence_length,
        dtype=source.dtype,
        pooling=pooling,
    )


def _embed(config: BertConfig, parameters: Parameters, activation: Activation) -> Activation:
    tokens = embed(parameters["tokens"], activation["input_ids"])
    token_types = embed(parameters["token_types"], activation["token_type_ids"])
    summed = tokens + token_types + parameters["positions"]
    hidden = normalize(parameters, "norm", summed, config.layer_norm_eps)
    read_here = ("input_ids", "token_type_ids")
    return {"hidden": hidden, **{key: value for key, value in activation.items() if key not in read_here}}


def _encode(config: BertConfig, parameters: Parameters, activation: Activation) -> jax.Array:
    hidden = activation["hidden"]
    bias = attention_bias(activation["attention_mask"])
    attended = attend(parameters, hidden, bias, config.num_attention_heads)
    hidden = normalize(parameters, "attention_norm", hidden + attended, config.layer_norm_eps)
    output = feed_forward(parameters, hidden, config.hidden_act)
    return normalize(parameters, "norm", hidden + output, config.layer_norm_eps)


def _pool(pooling: SentencePooling, activation: Activation) -> jax.Array:
    hidden = activation["hidden"].astype(jnp.float32)
    if pooling.mode == "cls":
        embedding = hidden[:, 0]
    else:
        mask = activation["attention_mask"].astype(jnp.float32)
        num_tokens = jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
        embedding = jnp.einsum("blh,bl->bh", hidden, mask) / num_tokens
    if not pooling.is_normalized:
        return embedding
    return embedding / jnp.maximum(jnp.linalg.norm(embedding, axis=1, keepdims=True), np.float32(1e-12))
