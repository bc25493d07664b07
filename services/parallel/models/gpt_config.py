"""What a Hugging Face `config.json` of the GPT-2 family says, checked before anything is built."""

from dataclasses import dataclass

from services.parallel.models.config_values import Config, check_heads, check_unset, choice, count, fraction
from services.parallel.models.transformer import NONLINEARITIES

_VARIANTS = {
    "add_cross_attention": False,
    "reorder_and_upcast_attn": False,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, slots=True)
class GptConfig:
    """The dimensions of one decoder, under the names of `config.json`."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    activation_function: str
    layer_norm_epsilon: float
    initializer_range: float


def parse_gpt_config(config: Config) -> GptConfig:
    """Read the parsed JSON of a `config.json`.

    Raises:
        InvalidModel: a value is missing, of another kind, or names a variant that is not supported.
    """
    check_unset(config, _VARIANTS)
    hidden = count(config, "n_embd")
    parsed = GptConfig(
        vocab_size=count(config, "vocab_size"),
        n_positions=count(config, "n_positions"),
        n_embd=hidden,
        n_layer=count(config, "n_layer"),
        n_head=count(config, "n_head"),
        n_inner=4 * hidden if config.get("n_inner") is None else count(config, "n_inner"),
        activation_function=choice(config, "activation_function", "gelu_new", sorted(NONLINEARITIES)),
        layer_norm_epsilon=fraction(config, "layer_norm_epsilon", 1e-5),
        initializer_range=fraction(config, "initializer_range", 0.02),
    )
    check_heads(config, "n_embd", "n_head")
    return parsed
