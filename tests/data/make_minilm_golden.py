"""Makes minilm_golden.json with the PyTorch reference: token ids and embeddings of
all-MiniLM-L6-v2, and hidden states of tiny random models for what MiniLM does not exercise.

Run in an environment of its own; the product depends on neither package:

    pip install torch==2.13.0 transformers==4.57.6
    python make_minilm_golden.py DIRECTORY_OF_THE_MODEL > minilm_golden.json
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

SENTENCES = (
    "Hello.",
    "",
    "A pipeline is as fast as its slowest stage.",
    "Über 99 % der Anfragen kamen rechtzeitig zurück, naïve café résumé 模型.",
    "The queue was empty, so the request started at once and finished well before its deadline.",
    "Statistical multiplexing lets bursty models share devices that each of them alone would leave idle.",
    "Model parallelism is usually a way to fit a large model into memory. Here it also spreads many small models "
    "over many devices, so that a burst of requests to one of them can borrow the compute of all the others.",
    "one two three four five six seven eight nine ten " * 12,
)
MAX_LENGTH = 128
TINY_CONFIG = {
    "model_type": "bert",
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 9,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-3,
}
TINY_INPUTS = {
    "input_ids": [1, 10, 0, 7, 7, 2],
    "attention_mask": [1, 1, 0, 1, 1, 0],
    "token_type_ids": [0, 2, 2, 1, 0, 1],
}


def sentence_cases(directory: str) -> list[dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = BertModel.from_pretrained(directory, add_pooling_layer=False, attn_implementation="eager").eval()
    cases = []
    for sentence in SENTENCES:
        encoded = tokenizer(sentence, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**encoded).last_hidden_state
        # Without padding every token is attended to, so the mean over the mask is the plain mean.
        embedding = torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)[0]
        cases.append(
            {
                "sentence": sentence,
                "input_ids": encoded["input_ids"][0].tolist(),
                "embedding": rounded(embedding),
            }
        )
    return cases


def tiny_case(hidden_act: str) -> dict[str, Any]:
    """Weights are drawn in the order of their names from seed 0, as the tests draw them."""
    config = {**TINY_CONFIG, "hidden_act": hidden_act}
    model = BertModel(BertConfig(**config), add_pooling_layer=False).eval()
    generator = np.random.default_rng(0)
    state = {
        name: torch.from_numpy(generator.normal(0, 0.5, tuple(tensor.shape)).astype(np.float32))
        for name, tensor in sorted(model.state_dict().items())
    }
    model.load_state_dict(state)
    with torch.no_grad():
        hidden = model(**{name: torch.tensor([values]) for name, values in TINY_INPUTS.items()}).last_hidden_state
    return {"config": config, "inputs": TINY_INPUTS, "last_hidden_state": [rounded(row) for row in hidden[0]]}


def rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 7) for value in values.tolist()]


if __name__ == "__main__":
    golden = {
        "model": "all-MiniLM-L6-v2",
        "max_length": MAX_LENGTH,
        "sentences": sentence_cases(sys.argv[1]),
        "tiny": [tiny_case(hidden_act) for hidden_act in ("gelu", "gelu_new", "relu")],
    }
    json.dump(golden, sys.stdout, ensure_ascii=False, indent=None)
    sys.stdout.write("\n")
