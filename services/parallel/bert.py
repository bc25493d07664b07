"""Encoders of the BERT family (Devlin et al., 2018) as layers: the embedding, one layer for
each encoder block and, for sentence-transformers directories, a pooling layer.

The outputs are `embedding` `(hidden_size,)` with pooling and `last_hidden_state`
`(length, hidden_size)` without; task heads in a checkpoint are not read.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from services.core.errors import InvalidModel
from services.parallel.bert_config import BertConfig
from services.parallel.bert_weights import (
    LayerTensor,
    block_tensors,
    draw_tensors,
    embedding_tensors,
    read_tensors,
    tensor_specs,
)
from services.parallel.checkpoint import Checkpoint
from services.parallel.model import Activation, HostActivation, HostParameters, Inputs, Outputs, Parameters, Shapes
from services.parallel.sentence_pooling import SentencePooling
from services.parallel.sharding import constrain_split, constrain_whole
from services.parallel.token_inputs import TokenLimits, stack_tokens

_NONLINEARITIES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


class BertEncoder:
    """A `LayeredModel`. Requests are padded to `sequence_length` with masked tokens."""

    def __init__(
        self,
        config: BertConfig,
        weights: Checkpoint | int,
        sequence_length: int,
        pooling: SentencePooling | None = None,
    ) -> None:
        """`weights` are a checkpoint's, or random ones from a seed.

        Raises:
            InvalidModel: `sequence_length` exceeds the model's positions.
        """
        if sequence_length > config.max_position_embeddings:
            raise InvalidModel(
                f"sequence_length {sequence_length} exceeds max_position_embeddings {config.max_position_embeddings}"
            )
        self._config = config
        self._weights = weights
        self._pooling = pooling
        self._limits = TokenLimits(sequence_length, config.vocab_size, config.type_vocab_size)

    @property
    def num_layers(self) -> int:
        return self._pooling_layer + (self._pooling is not None)

    @property
    def _pooling_layer(self) -> int:
        return 1 + self._config.num_hidden_layers

    def layer_parameters(self, layer: int) -> HostParameters:
        tensors = self._layer_tensors(layer)
        parameters: HostParameters = (
            dict(draw_tensors(self._config, (self._weights, layer), tensors))
            if isinstance(self._weights, int)
            else dict(read_tensors(self._weights, tensors))
        )
        if layer == 0:
            # A copy, so that the positions beyond the sequence length are freed.
            parameters["positions"] = parameters["positions"][: self._limits.sequence_length].copy()
        return parameters

    def layer_specs(self, layer: int, intra_op: int) -> dict[str, PartitionSpec]:
        return tensor_specs(self._layer_tensors(layer), intra_op)

    def layer_flops(self, layer: int) -> float:
        config, length = self._config, self._limits.sequence_length
        if layer == 0 or layer == self._pooling_layer:
            return 10.0 * length * config.hidden_size
        linear = config.hidden_size * (4 * config.hidden_size + 2 * config.intermediate_size)
        attention = 2 * length * config.hidden_size
        return 2.0 * length * (linear + attention)

    def apply_layer(self, layer: int, parameters: Parameters, activation: Activation) -> Activation:
        if layer == 0:
            return _embed(self._config, parameters, activation)
        if layer == self._pooling_layer and self._pooling is not None:
            return {"embedding": _pool(self._pooling, activation)}
        return {**activation, "hidden": _encode(self._config, parameters, activation)}

    def example(self) -> Inputs:
        ids = np.arange(self._limits.sequence_length, dtype=np.int32) % self._config.vocab_size
        return {"input_ids": ids}

    def input_shapes(self, batch_size: int) -> Shapes:
        tokens = jax.ShapeDtypeStruct((batch_size, self._limits.sequence_length), jnp.int32)
        shapes = {"input_ids": tokens, "attention_mask": tokens, "token_type_ids": tokens}
        if self._pooling is None:
            shapes["length"] = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        return shapes

    def prepare(self, batch: Sequence[Inputs]) -> HostActivation:
        stacked: HostActivation = dict(stack_tokens(batch, self._limits))
        if self._pooling is not None:
            del stacked["length"]
        return stacked

    def collect(self, activation: HostActivation) -> list[Outputs]:
        if self._pooling is not None:
            return [{"embedding": row} for row in activation["embedding"]]
        rows = zip(activation["hidden"], activation["length"], strict=True)
        return [{"last_hidden_state": hidden[:length]} for hidden, length in rows]

    def _layer_tensors(self, layer: int) -> dict[str, LayerTensor]:
        if layer == 0:
            return embedding_tensors(self._config)
        if layer == self._pooling_layer:
            return {}
        return block_tensors(self._config, layer - 1)


def _embed(config: BertConfig, parameters: Parameters, activation: Activation) -> Activation:
    tokens = jnp.take(parameters["tokens"], activation["input_ids"], axis=0, mode="clip")
    token_types = jnp.take(parameters["token_types"], activation["token_type_ids"], axis=0, mode="clip")
    summed = constrain_whole(tokens) + token_types + parameters["positions"]
    hidden = _normalize(config, parameters, "norm", summed)
    read_here = ("input_ids", "token_type_ids")
    return {"hidden": hidden, **{key: value for key, value in activation.items() if key not in read_here}}


def _encode(config: BertConfig, parameters: Parameters, activation: Activation) -> jax.Array:
    hidden = activation["hidden"]
    attended = _attend(config, parameters, hidden, activation["attention_mask"])
    hidden = _normalize(config, parameters, "attention_norm", hidden + attended)
    inner = constrain_split(hidden @ parameters["wi"] + parameters["bi"], axis=2)
    inner = _NONLINEARITIES[config.hidden_act](inner)
    output = constrain_whole(inner @ parameters["wu"]) + parameters["bu"]
    return _normalize(config, parameters, "norm", hidden + output)


def _attend(config: BertConfig, parameters: Parameters, hidden: jax.Array, mask: jax.Array) -> jax.Array:
    batch, length, _ = hidden.shape
    heads = (batch, length, config.num_attention_heads, config.head_size)

    def project(letter: str) -> jax.Array:
        projected = hidden @ parameters["w" + letter] + parameters["b" + letter]
        return constrain_split(projected.reshape(heads), axis=2)

    query, key, value = project("q"), project("k"), project("v")
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.float32(np.sqrt(config.head_size))
    # Finite, so that a row which attends to nothing stays a number.
    bias = jnp.where(mask == 0, np.finfo(np.float32).min, np.float32(0))
    shares = jax.nn.softmax(scores + bias[:, None, None, :], axis=-1)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, value).reshape(hidden.shape)
    return constrain_whole(constrain_split(mixed, axis=2) @ parameters["wo"]) + parameters["bo"]


def _normalize(config: BertConfig, parameters: Parameters, name: str, value: jax.Array) -> jax.Array:
    centred = value - value.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt(variance + np.float32(config.layer_norm_eps))
    return scaled * parameters[f"{name}_scale"] + parameters[f"{name}_bias"]


def _pool(pooling: SentencePooling, activation: Activation) -> jax.Array:
    hidden = activation["hidden"]
    if pooling.mode == "cls":
        embedding = hidden[:, 0]
    else:
        mask = activation["attention_mask"].astype(hidden.dtype)
        num_tokens = jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
        embedding = jnp.einsum("blh,bl->bh", hidden, mask) / num_tokens
    if not pooling.is_normalized:
        return embedding
    return embedding / jnp.maximum(jnp.linalg.norm(embedding, axis=1, keepdims=True), np.float32(1e-12))
