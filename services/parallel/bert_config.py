"""What a Hugging Face `config.json` of the BERT family says, checked before anything is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.core.errors import InvalidModel

ACTIVATIONS = ("gelu", "gelu_new", "relu")


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The dimensions of one encoder, under the names of `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise InvalidModel(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise InvalidModel(f"hidden_act must be one of {list(ACTIVATIONS)}, got {self.hidden_act!r}")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads


def parse_bert_config(config: Mapping[str, Any]) -> BertConfig:
    """Read the parsed JSON of a `config.json`.

    Raises:
        InvalidModel: a value is missing, of another kind, or names a variant that is not
            supported (decoders, relative positions).
    """
    if config.get("is_decoder", False) or config.get("add_cross_attention", False):
        raise InvalidModel("config.json: is_decoder and add_cross_attention are not supported")
    position_type = config.get("position_embedding_type") or "absolute"
    if position_type != "absolute":
        raise InvalidModel(f"config.json: position_embedding_type {position_type!r} is not supported")
    return BertConfig(
        vocab_size=_count(config, "vocab_size"),
        hidden_size=_count(config, "hidden_size"),
        num_hidden_layers=_count(config, "num_hidden_layers"),
        num_attention_heads=_count(config, "num_attention_heads"),
        intermediate_size=_count(config, "intermediate_size"),
        max_position_embeddings=_count(config, "max_position_embeddings"),
        type_vocab_size=_count(config, "type_vocab_size"),
        layer_norm_eps=_number(config, "layer_norm_eps", 1e-12),
        hidden_act=str(config.get("hidden_act", "gelu")),
        initializer_range=_number(config, "initializer_range", 0.02),
    )


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidModel(f"config.json: {key} must be a positive integer, got {value!r}")
    return value


def _number(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InvalidModel(f"config.json: {key} must be a number between 0 and 1, got {value!r}")
    return float(value)
