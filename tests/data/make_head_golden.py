"""Makes bert_masked_lm/ and gpt2/ with the PyTorch reference: tiny random models as it saves them, and what
it predicts for requests that differ in length, mask and token types.

Run in an environment of its own; the product depends on neither package:

    pip install torch==2.13.0 transformers==4.57.6
    python make_head_golden.py
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).parent
BERT = BertConfig(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=12,
    type_vocab_size=2,
    hidden_act="gelu",
)
GPT = GPT2Config(vocab_size=40, n_positions=12, n_embd=16, n_layer=2, n_head=2, n_inner=40)
REQUESTS: list[dict[str, list[int]]] = [
    {"input_ids": [7]},
    {"input_ids": [1, 39, 0, 7, 7, 2]},
    {"input_ids": [5, 3, 8, 13, 21, 34, 2, 4, 6, 10]},
    {"input_ids": [9, 9, 1, 30, 12, 11, 3], "attention_mask": [1, 1, 0, 1, 1, 0, 0]},
]
TOKEN_TYPES = [[0], [0, 0, 0, 1, 1, 1], [1] * 10, [0, 1, 0, 1, 1, 0, 1]]


def randomize(model: torch.nn.Module) -> None:
    """Every parameter, so that no bias is 0 and no scale is 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)


def logits(model: torch.nn.Module, request: dict[str, list[int]]) -> torch.Tensor:
    """Of every token `(length, vocabulary)`."""
    with torch.no_grad():
        scores: torch.Tensor = model(**{name: torch.tensor([values]) for name, values in request.items()}).logits[0]
    return scores


def bert_case(model: torch.nn.Module, request: dict[str, list[int]]) -> dict[str, Any]:
    best = logits(model, request).max(dim=-1)
    return {
        "inputs": request,
        "predicted_ids": best.indices.tolist(),
        "predicted_logits": rounded(best.values),
    }


def gpt_case(model: torch.nn.Module, request: dict[str, list[int]]) -> dict[str, Any]:
    mask = request.get("attention_mask", [1] * len(request["input_ids"]))
    last = max(place for place, real in enumerate(mask) if real)
    return {"inputs": request, "logits": rounded(logits(model, request)[last])}


def rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def save(model: Any, directory: Path, cases: list[dict[str, Any]]) -> None:
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    (directory / "cases.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    bert = BertForMaskedLM(BERT).eval()
    randomize(bert)
    typed = [{**request, "token_type_ids": ids} for request, ids in zip(REQUESTS, TOKEN_TYPES, strict=True)]
    save(bert, HERE / "bert_masked_lm", [bert_case(bert, request) for request in typed])
    gpt = GPT2LMHeadModel(GPT).eval()
    randomize(gpt)
    save(gpt, HERE / "gpt2", [gpt_case(gpt, request) for request in REQUESTS])
