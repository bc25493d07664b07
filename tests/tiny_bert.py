"""A BERT small enough to compile in a moment; without a checkpoint its weights are drawn, and far enough apart."""

from typing import Any

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 24,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "initializer_range": 0.5,
}
