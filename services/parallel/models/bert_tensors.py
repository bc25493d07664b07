"""The tensors of each BERT layer and their names in a checkpoint."""

from services.parallel.models.bert_config import BertConfig
from services.parallel.models.tensors import LayerTensor, StoredTensor, whole_tensor

_TOKENS = "embeddings.word_embeddings.weight"


def embedding_tensors(config: BertConfig, length: int) -> dict[str, LayerTensor]:
    """The tensors of the embedding layer; positions beyond `length` are not held."""
    hidden = config.hidden_size
    positions = StoredTensor(
        _aliases("embeddings.position_embeddings.weight"),
        (config.max_position_embeddings, hidden),
        spread=config.initializer_range,
    )
    return {
        "tokens": _matrix(config, _TOKENS, (config.vocab_size, hidden)),
        "positions": LayerTensor(positions, (length, hidden)),
        "token_types": _matrix(config, "embeddings.token_type_embeddings.weight", (config.type_vocab_size, hidden)),
        **_norm("norm", "embeddings.LayerNorm", hidden),
    }


def block_tensors(config: BertConfig, block: int) -> dict[str, LayerTensor]:
    """The tensors of one encoder block."""
    where = f"encoder.layer.{block}."
    hidden, inner = config.hidden_size, config.intermediate_size
    tensors: dict[str, LayerTensor] = {}
    for letter, name in (("q", "query"), ("k", "key"), ("v", "value")):
        tensors |= _linear(config, letter, f"{where}attention.self.{name}", hidden, hidden)
    tensors |= _linear(config, "o", f"{where}attention.output.dense", hidden, hidden)
    tensors |= _linear(config, "i", f"{where}intermediate.dense", hidden, inner)
    tensors |= _linear(config, "u", f"{where}output.dense", inner, hidden)
    tensors |= _norm("attention_norm", f"{where}attention.output.LayerNorm", hidden)
    return tensors | _norm("norm", f"{where}output.LayerNorm", hidden)


def masked_lm_tensors(config: BertConfig) -> dict[str, LayerTensor]:
    """The tensors of the masked-LM head; its decoder is the token table."""
    hidden = config.hidden_size
    return {
        **_linear(config, "h", "cls.predictions.transform.dense", hidden, hidden),
        **_norm("norm", "cls.predictions.transform.LayerNorm", hidden),
        "tokens": _matrix(config, _TOKENS, (config.vocab_size, hidden)),
        "token_bias": whole_tensor(_aliases("cls.predictions.bias"), (config.vocab_size,)),
    }


def _matrix(config: BertConfig, name: str, shape: tuple[int, ...]) -> LayerTensor:
    return whole_tensor(_aliases(name), shape, spread=config.initializer_range)


def _linear(config: BertConfig, letter: str, name: str, inputs: int, outputs: int) -> dict[str, LayerTensor]:
    weight = StoredTensor(_aliases(f"{name}.weight"), (outputs, inputs), spread=config.initializer_range)
    return {
        "w" + letter: LayerTensor(weight, (inputs, outputs), is_transposed=True),
        "b" + letter: whole_tensor(_aliases(f"{name}.bias"), (outputs,)),
    }


def _norm(prefix: str, name: str, size: int) -> dict[str, LayerTensor]:
    return {
        f"{prefix}_scale": whole_tensor(_aliases(f"{name}.weight"), (size,), mean=1.0),
        f"{prefix}_bias": whole_tensor(_aliases(f"{name}.bias"), (size,)),
    }


def _aliases(name: str) -> tuple[str, ...]:
    # Checkpoints that came from TensorFlow call the scale and bias of a normalisation gamma and beta.
    old_name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return (name, f"bert.{name}", old_name, f"bert.{old_name}")
