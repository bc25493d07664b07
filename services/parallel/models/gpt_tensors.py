"""The tensors of each GPT-2 layer and their names in a checkpoint, where linear maps are stored
`(inputs, outputs)` and query, key and value are column ranges of one map."""

import math

from services.parallel.models.gpt_config import GptConfig
from services.parallel.models.tensors import LayerTensor, StoredTensor, whole_tensor


def embedding_tensors(config: GptConfig, length: int) -> dict[str, LayerTensor]:
    """The tensors of the embedding layer; positions beyond `length` are not held."""
    shape = (config.n_positions, config.n_embd)
    positions = StoredTensor(_aliases("wpe.weight"), shape, spread=config.initializer_range)
    return {"tokens": _tokens(config), "positions": LayerTensor(positions, (length, config.n_embd))}


def block_tensors(config: GptConfig, block: int) -> dict[str, LayerTensor]:
    """The tensors of one decoder block."""
    where = f"h.{block}."
    hidden, inner, spread = config.n_embd, config.n_inner, config.initializer_range
    # The two maps onto the residual start smaller, so that it does not grow with depth (Radford et al., 2019).
    residual_spread = spread / math.sqrt(2 * config.n_layer)
    return {
        **_norm("attention_norm", f"{where}ln_1", hidden),
        **_attention_inputs(f"{where}attn.c_attn", hidden, spread),
        **_linear("o", f"{where}attn.c_proj", (hidden, hidden), residual_spread),
        **_norm("norm", f"{where}ln_2", hidden),
        **_linear("i", f"{where}mlp.c_fc", (hidden, inner), spread),
        **_linear("u", f"{where}mlp.c_proj", (inner, hidden), residual_spread),
    }


def head_tensors(config: GptConfig) -> dict[str, LayerTensor]:
    """The last normalisation and the token table, which is also the output map."""
    return {**_norm("norm", "ln_f", config.n_embd), "tokens": _tokens(config)}


def _tokens(config: GptConfig) -> LayerTensor:
    shape = (config.vocab_size, config.n_embd)
    return whole_tensor(_aliases("wte.weight"), shape, spread=config.initializer_range)


def _attention_inputs(name: str, hidden: int, spread: float) -> dict[str, LayerTensor]:
    weight = StoredTensor(_aliases(f"{name}.weight"), (hidden, 3 * hidden), spread=spread)
    bias = StoredTensor(_aliases(f"{name}.bias"), (3 * hidden,))
    tensors = {}
    for part, letter in enumerate("qkv"):
        tensors["w" + letter] = LayerTensor(weight, (hidden, hidden), offset=(0, part * hidden))
        tensors["b" + letter] = LayerTensor(bias, (hidden,), offset=(part * hidden,))
    return tensors


def _linear(letter: str, name: str, shape: tuple[int, int], spread: float) -> dict[str, LayerTensor]:
    return {
        "w" + letter: whole_tensor(_aliases(f"{name}.weight"), shape, spread=spread),
        "b" + letter: whole_tensor(_aliases(f"{name}.bias"), shape[1:]),
    }


def _norm(prefix: str, name: str, size: int) -> dict[str, LayerTensor]:
    return {
        f"{prefix}_scale": whole_tensor(_aliases(f"{name}.weight"), (size,), mean=1.0),
        f"{prefix}_bias": whole_tensor(_aliases(f"{name}.bias"), (size,)),
    }


def _aliases(name: str) -> tuple[str, ...]:
    return (name, f"transformer.{name}")
