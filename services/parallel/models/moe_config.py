"""What the config of a mixture-of-experts encoder says. The keys are ours, in Hugging Face's spelling."""

import math
from dataclasses import dataclass

from services.core.errors import InvalidModel
from services.parallel.models.config_values import Config, check_heads, choice, count, fraction, positive
from services.parallel.models.transformer import NONLINEARITIES


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """The dimensions of one encoder; each expert takes up to `capacity_factor` · length / `num_experts`
    tokens of a request."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    num_experts: int
    expert_intermediate_size: int
    capacity_factor: float
    max_position_embeddings: int
    layer_norm_eps: float
    hidden_act: str
    initializer_range: float

    def capacity(self, sequence_length: int) -> int:
        """Tokens of one request that an expert takes at most."""
        return min(sequence_length, math.ceil(self.capacity_factor * sequence_length / self.num_experts))


def parse_moe_config(config: Config) -> MoeConfig:
    """Read the parsed JSON of a config.

    Raises:
        InvalidModel: a value is missing or of another kind.
    """
    parsed = MoeConfig(
        vocab_size=count(config, "vocab_size"),
        hidden_size=count(config, "hidden_size"),
        num_hidden_layers=count(config, "num_hidden_layers"),
        num_attention_heads=count(config, "num_attention_heads"),
        intermediate_size=count(config, "intermediate_size"),
        num_experts=count(config, "num_experts"),
        expert_intermediate_size=count(config, "expert_intermediate_size"),
        capacity_factor=positive(config, "capacity_factor", 2.0),
        max_position_embeddings=count(config, "max_position_embeddings"),
        layer_norm_eps=fraction(config, "layer_norm_eps", 1e-12),
        hidden_act=choice(config, "hidden_act", "gelu", sorted(NONLINEARITIES)),
        initializer_range=fraction(config, "initializer_range", 0.02),
    )
    check_heads(config)
    if parsed.num_experts < 2:
        raise InvalidModel(f"config.json: num_experts must be at least 2, got {parsed.num_experts}")
    return parsed
