"""The tensors of each BERT layer: their names in a checkpoint, their random values, and how
they are split over the devices of a stage (Megatron-LM: query, key, value and the first linear
map by column, the two maps back by row, the token table by vocabulary).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jax.sharding import PartitionSpec
from numpy.typing import NDArray

from services.parallel.bert_config import BertConfig
from services.parallel.checkpoint import Checkpoint
from services.parallel.sharding import split_spec

_COLUMN, _ROW = 1, 0


@dataclass(frozen=True, slots=True)
class LayerTensor:
    """One tensor as the checkpoint stores it.

    Linear maps are stored `(outputs, inputs)` and held `(inputs, outputs)`. `split_axis` counts
    on the held form; a split is possible where the devices divide `num_parts`.
    """

    name: str
    shape: tuple[int, ...]
    is_linear: bool = False
    split_axis: int | None = None
    num_parts: int = 1


def embedding_tensors(config: BertConfig) -> dict[str, LayerTensor]:
    """The tensors of the embedding layer, by the name the model's code uses."""
    hidden, vocab = config.hidden_size, config.vocab_size
    return {
        "tokens": LayerTensor("embeddings.word_embeddings.weight", (vocab, hidden), split_axis=_ROW, num_parts=vocab),
        "positions": LayerTensor("embeddings.position_embeddings.weight", (config.max_position_embeddings, hidden)),
        "token_types": LayerTensor("embeddings.token_type_embeddings.weight", (config.type_vocab_size, hidden)),
        "norm_scale": LayerTensor("embeddings.LayerNorm.weight", (hidden,)),
        "norm_bias": LayerTensor("embeddings.LayerNorm.bias", (hidden,)),
    }


def block_tensors(config: BertConfig, block: int) -> dict[str, LayerTensor]:
    """The tensors of one encoder block, by the name the model's code uses."""
    where = f"encoder.layer.{block}."
    hidden, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    tensors: dict[str, LayerTensor] = {}
    for letter, name in (("q", "query"), ("k", "key"), ("v", "value")):
        linear = f"{where}attention.self.{name}"
        tensors["w" + letter] = LayerTensor(f"{linear}.weight", (hidden, hidden), True, _COLUMN, heads)
        tensors["b" + letter] = LayerTensor(f"{linear}.bias", (hidden,), False, 0, heads)
    tensors["wo"] = LayerTensor(f"{where}attention.output.dense.weight", (hidden, hidden), True, _ROW, heads)
    tensors["bo"] = LayerTensor(f"{where}attention.output.dense.bias", (hidden,))
    tensors["wi"] = LayerTensor(f"{where}intermediate.dense.weight", (inner, hidden), True, _COLUMN, inner)
    tensors["bi"] = LayerTensor(f"{where}intermediate.dense.bias", (inner,), False, 0, inner)
    tensors["wu"] = LayerTensor(f"{where}output.dense.weight", (hidden, inner), True, _ROW, inner)
    tensors["bu"] = LayerTensor(f"{where}output.dense.bias", (hidden,))
    for prefix, name in (("attention_norm", "attention.output"), ("norm", "output")):
        tensors[f"{prefix}_scale"] = LayerTensor(f"{where}{name}.LayerNorm.weight", (hidden,))
        tensors[f"{prefix}_bias"] = LayerTensor(f"{where}{name}.LayerNorm.bias", (hidden,))
    return tensors


def read_tensors(checkpoint: Checkpoint, tensors: Mapping[str, LayerTensor]) -> dict[str, NDArray[np.float32]]:
    """Read the tensors of one layer.

    Raises:
        InvalidModel: a tensor is missing or has another shape.
    """
    return {
        key: _held(tensor, checkpoint.tensor(_aliases(tensor.name), tensor.shape)) for key, tensor in tensors.items()
    }


def draw_tensors(
    config: BertConfig, seed: tuple[int, int], tensors: Mapping[str, LayerTensor]
) -> dict[str, NDArray[np.float32]]:
    """Draw the tensors of one layer; the same `seed` (model's, layer) gives the same values."""
    generator = np.random.default_rng(seed)
    return {key: _held(tensor, _draw(generator, tensor, config)) for key, tensor in tensors.items()}


def tensor_specs(tensors: Mapping[str, LayerTensor], intra_op: int) -> dict[str, PartitionSpec]:
    """How each tensor, as it is held, lies on `intra_op` devices."""
    return {
        key: PartitionSpec()
        if tensor.split_axis is None or tensor.num_parts % intra_op
        else split_spec(len(tensor.shape), tensor.split_axis)
        for key, tensor in tensors.items()
    }


def _held(tensor: LayerTensor, stored: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(stored.T) if tensor.is_linear else stored


def _aliases(name: str) -> tuple[str, ...]:
    # Checkpoints that came from TensorFlow call the scale and bias of a normalisation gamma and beta.
    old_name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return (name, f"bert.{name}", old_name, f"bert.{old_name}")


def _draw(generator: np.random.Generator, tensor: LayerTensor, config: BertConfig) -> NDArray[np.float32]:
    if tensor.name.endswith("LayerNorm.weight"):
        return np.ones(tensor.shape, dtype=np.float32)
    if tensor.name.endswith(".bias"):
        return np.zeros(tensor.shape, dtype=np.float32)
    values = generator.standard_normal(tensor.shape, dtype=np.float32)
    values *= np.float32(config.initializer_range)
    return values
