"""The tensors of each layer of a mixture-of-experts encoder. A checkpoint keeps them as they are held,
under the names `layers.0.tokens`, `layers.2.expert_wi`, …"""

from services.parallel.models.moe_config import MoeConfig
from services.parallel.models.tensors import LayerTensor, layer_name, whole_tensor


def embedding_tensors(config: MoeConfig, length: int) -> dict[str, LayerTensor]:
    """The tensors of the embedding layer; positions beyond `length` are not held."""
    hidden = config.hidden_size
    positions = LayerTensor(
        _matrix(config, 0, "positions", (config.max_position_embeddings, hidden)).stored, (length, hidden)
    )
    return {"tokens": _tokens(config), "positions": positions, **_norm(0, "norm", hidden)}


def block_tensors(config: MoeConfig, layer: int, *, has_experts: bool) -> dict[str, LayerTensor]:
    """The tensors of one encoder block, whose feed-forward part is one map or a mixture of experts."""
    hidden = config.hidden_size
    attention = dict.fromkeys("qkvo", (hidden, hidden))
    feed_forward = (
        _experts(config, layer)
        if has_experts
        else _linears(config, layer, {"i": (hidden, config.intermediate_size), "u": (config.intermediate_size, hidden)})
    )
    return {
        **_linears(config, layer, attention),
        **_norm(layer, "attention_norm", hidden),
        **feed_forward,
        **_norm(layer, "norm", hidden),
    }


def head_tensors(config: MoeConfig, layer: int) -> dict[str, LayerTensor]:
    """The tensors of the output head; its decoder is the token table."""
    hidden = config.hidden_size
    return {
        **_linears(config, layer, {"h": (hidden, hidden)}),
        **_norm(layer, "norm", hidden),
        "tokens": _tokens(config),
        "token_bias": whole_tensor(layer_name(layer, "token_bias"), (config.vocab_size,)),
    }


def _tokens(config: MoeConfig) -> LayerTensor:
    return _matrix(config, 0, "tokens", (config.vocab_size, config.hidden_size))


def _experts(config: MoeConfig, layer: int) -> dict[str, LayerTensor]:
    num, hidden, inner = config.num_experts, config.hidden_size, config.expert_intermediate_size
    return {
        "gate": _matrix(config, layer, "gate", (hidden, num)),
        "expert_wi": _matrix(config, layer, "expert_wi", (num, hidden, inner)),
        "expert_bi": whole_tensor(layer_name(layer, "expert_bi"), (num, inner)),
        "expert_wu": _matrix(config, layer, "expert_wu", (num, inner, hidden)),
        "expert_bu": whole_tensor(layer_name(layer, "expert_bu"), (num, hidden)),
    }


def _linears(config: MoeConfig, layer: int, shapes: dict[str, tuple[int, int]]) -> dict[str, LayerTensor]:
    weights = {"w" + letter: _matrix(config, layer, "w" + letter, shape) for letter, shape in shapes.items()}
    biases = {
        "b" + letter: whole_tensor(layer_name(layer, "b" + letter), shape[1:]) for letter, shape in shapes.items()
    }
    return weights | biases


def _matrix(config: MoeConfig, layer: int, name: str, shape: tuple[int, ...]) -> LayerTensor:
    return whole_tensor(layer_name(layer, name), shape, spread=config.initializer_range)


def _norm(layer: int, prefix: str, size: int) -> dict[str, LayerTensor]:
    return {
        f"{prefix}_scale": whole_tensor(layer_name(layer, f"{prefix}_scale"), (size,), mean=1.0),
        f"{prefix}_bias": whole_tensor(layer_name(layer, f"{prefix}_bias"), (size,)),
    }
