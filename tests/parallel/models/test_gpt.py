"""Agreement with the PyTorch reference (see tests/data/make_head_golden.py), and causality."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import LayeredModel, Outputs

GOLDEN = Path(__file__).parents[2] / "data" / "gpt2"
CONFIG = json.loads((GOLDEN / "config.json").read_text())


def golden_model(sequence_length: int) -> LayeredModel:
    return open_model(ModelSource(checkpoint=str(GOLDEN), sequence_length=sequence_length))


def test_logits_agree_with_the_reference(forward: Callable[..., list[Outputs]]) -> None:
    cases = json.loads((GOLDEN / "cases.json").read_text())
    batch = [{name: np.array(values) for name, values in case["inputs"].items()} for case in cases]

    outputs = forward(golden_model(11), batch)

    assert len(outputs) == 4
    for actual, expected in zip(outputs, cases, strict=True):
        np.testing.assert_allclose(actual["logits"], expected["logits"], rtol=1e-5, atol=1e-5)


def test_query_key_and_value_are_columns_of_one_stored_map(
    layer_parameters: Callable[[LayeredModel, int], dict[str, NDArray[Any]]],
) -> None:
    stored = load_file(GOLDEN / "model.safetensors")

    block = layer_parameters(golden_model(11), 2)

    joined = np.concatenate([block["wq"], block["wk"], block["wv"]], axis=1)
    np.testing.assert_array_equal(joined, stored["transformer.h.1.attn.c_attn.weight"])
    joined = np.concatenate([block["bq"], block["bk"], block["bv"]])
    np.testing.assert_array_equal(joined, stored["transformer.h.1.attn.c_attn.bias"])
    np.testing.assert_array_equal(block["wi"], stored["transformer.h.1.mlp.c_fc.weight"])


def test_no_token_sees_a_later_one(run_layers: Callable[..., dict[str, NDArray[Any]]]) -> None:
    model = golden_model(11)
    before = model.prepare([{"input_ids": np.arange(10)}])
    after = model.prepare([{"input_ids": np.array([0, 1, 2, 3, 4, 5, 30, 7, 8, 9])}])

    blocks = range(model.num_layers - 1)
    hidden, changed = (run_layers(model, blocks, activation)["hidden"][0] for activation in (before, after))

    np.testing.assert_array_equal(changed[:6], hidden[:6])
    assert (np.abs(changed[6:] - hidden[6:]).max(axis=1) > 1e-3).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_embd": 0}, "n_embd must be a positive integer, got 0"),
        ({"n_inner": 1.5}, "n_inner must be a positive integer, got 1.5"),
        ({"n_head": 3}, "n_embd 16 is not a multiple of n_head 3"),
        ({"activation_function": "silu"}, "activation_function must be one of .* got 'silu'"),
        ({"activation_function": ["relu"]}, r"activation_function must be one of .* got \['relu'\]"),
        ({"layer_norm_epsilon": 1}, "layer_norm_epsilon must be a number between 0 and 1, got 1"),
        ({"scale_attn_weights": False}, "scale_attn_weights False is not supported, only True is"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ({"add_cross_attention": True}, "add_cross_attention True"),
        ({"n_positions": 9}, "sequence_length 10 exceeds n_positions 9"),
    ],
)
def test_an_unsupported_config_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidModel, match=named):
        open_model(ModelSource(config=json.dumps({**CONFIG, **change}), sequence_length=10))
