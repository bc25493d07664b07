"""Agreement with the PyTorch reference: see tests/data/make_head_golden.py. What comes without a head is
compared in test_golden.py."""

import json
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import Outputs
from services.parallel.models.transformer import predict_masked

GOLDEN = Path(__file__).parents[2] / "data" / "bert_masked_lm"


def test_predictions_agree_with_the_reference(forward: Callable[..., list[Outputs]]) -> None:
    cases = json.loads((GOLDEN / "cases.json").read_text())
    model = open_model(ModelSource(checkpoint=str(GOLDEN), sequence_length=11))
    batch = [{name: np.array(values) for name, values in case["inputs"].items()} for case in cases]

    outputs = forward(model, batch)

    assert len(outputs) == 4
    for actual, expected in zip(outputs, cases, strict=True):
        assert actual["predicted_ids"].tolist() == expected["predicted_ids"]
        np.testing.assert_allclose(actual["predicted_logits"], expected["predicted_logits"], rtol=1e-5, atol=1e-5)


def test_of_equal_logits_the_first_token_is_predicted() -> None:
    parameters = {"wh": jnp.eye(2), "bh": jnp.zeros(2), "norm_scale": jnp.ones(2), "norm_bias": jnp.zeros(2)}
    parameters |= {"tokens": jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), "token_bias": jnp.zeros(3)}

    predicted = predict_masked(parameters, jnp.array([[[5.0, 1.0], [1.0, 5.0]]]), "relu", 1e-12)

    assert np.asarray(predicted["predicted_ids"]).tolist() == [[1, 0]]
    np.testing.assert_allclose(predicted["predicted_logits"], [[1.0, 1.0]], rtol=1e-5)
