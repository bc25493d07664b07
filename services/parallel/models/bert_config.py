"""What a Hugging Face `config.json` of the BERT family says, checked before anything is built."""

from dataclasses import dataclass

from services.core.errors import InvalidModel
from services.parallel.models.config_values import Config, check_heads, check_unset, choice, count, fraction
from services.parallel.models.transformer import NONLINEARITIES


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
    layer_norm_eps: float
    hidden_act: str
    initializer_range: float
    has_masked_lm: bool


def parse_bert_config(config: Config) -> BertConfig:
    """Read the parsed JSON of a `config.json`.

    Raises:
        InvalidModel: a value is missing, of another kind, or names a variant that is not
            supported (decoders, relative positions, a decoder apart from the token table).
    """
    check_unset(config, {"is_decoder": False, "add_cross_attention": False, "tie_word_embeddings": True})
    position_type = config.get("position_embedding_type") or "absolute"
    if position_type != "absolute":
        raise InvalidModel(f"config.json: position_embedding_type {position_type!r} is not supported")
    parsed = BertConfig(
        vocab_size=count(config, "vocab_size"),
        hidden_size=count(config, "hidden_size"),
        num_hidden_layers=count(config, "num_hidden_layers"),
        num_attention_heads=count(config, "num_attention_heads"),
        intermediate_size=count(config, "intermediate_size"),
        max_position_embeddings=count(config, "max_position_embeddings"),
        type_vocab_size=count(config, "type_vocab_size"),
        layer_norm_eps=fraction(config, "layer_norm_eps", 1e-12),
        hidden_act=choice(config, "hidden_act", "gelu", sorted(NONLINEARITIES)),
        initializer_range=fraction(config, "initializer_range", 0.02),
        has_masked_lm=(config.get("architectures") or [])[:1] == ["BertForMaskedLM"],
    )
    check_heads(config)
    return parsed
