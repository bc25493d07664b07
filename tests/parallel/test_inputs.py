"""Requests that a model of tokens takes, and those it refuses by name."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.errors import InvalidInput
from services.core.model import ModelSource
from services.parallel.architectures import open_model
from services.parallel.model import LayeredModel

IDS = np.array([3, 1, 4], dtype=np.int64)
MASK = np.array([1, 0, 1], dtype=np.int32)


@pytest.fixture
def model(tiny_source: ModelSource) -> LayeredModel:
    return open_model(tiny_source)


def test_a_request_is_padded_with_masked_tokens(model: LayeredModel) -> None:
    prepared = model.prepare([{"input_ids": IDS}])

    assert prepared["input_ids"].tolist() == [[3, 1, 4, 0, 0, 0, 0, 0]]
    assert prepared["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert prepared["token_type_ids"].tolist() == [[0] * 8]
    assert prepared["length"].tolist() == [3]
    assert {value.dtype for value in prepared.values()} == {np.dtype(np.int32)}


def test_a_batch_is_stacked_and_taken_apart(model: LayeredModel) -> None:
    prepared = model.prepare([{"input_ids": IDS, "attention_mask": MASK}, {"input_ids": np.arange(8)}])

    outputs = model.collect({"hidden": np.zeros((2, 8, 16)), "length": prepared["length"]})

    assert prepared["attention_mask"].tolist() == [[1, 0, 1, 0, 0, 0, 0, 0], [1] * 8]
    assert [output["last_hidden_state"].shape for output in outputs] == [(3, 16), (8, 16)]


def test_what_is_prepared_has_the_shapes_that_are_compiled(model: LayeredModel) -> None:
    prepared = model.prepare([{"input_ids": IDS}, {"input_ids": IDS}])

    shapes = model.input_shapes(2)
    assert {key: (value.shape, value.dtype) for key, value in prepared.items()} == {
        key: (shape.shape, shape.dtype) for key, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({}, "missing input 'input_ids'"),
        ({"input_ids": IDS, "pixels": IDS}, "unknown input 'pixels'"),
        ({"input_ids": IDS.astype(np.float32)}, "input_ids has dtype float32"),
        ({"input_ids": IDS.astype(np.uint8)}, "input_ids has dtype uint8"),
        ({"input_ids": IDS[None]}, r"input_ids has shape \(1, 3\)"),
        ({"input_ids": np.array(3)}, r"input_ids has shape \(\)"),
        ({"input_ids": IDS[:0]}, r"input_ids has shape \(0,\)"),
        ({"input_ids": np.zeros(9, dtype=np.int64)}, r"shape \(9,\), expected \(length,\) with length from 1 to 8"),
        ({"input_ids": np.array([0, 24])}, r"input_ids\[1\] is 24, expected 0 to 23"),
        ({"input_ids": np.array([-1, 0])}, r"input_ids\[0\] is -1"),
        ({"input_ids": np.array([2**32])}, r"input_ids\[0\] is 4294967296"),
        ({"input_ids": IDS, "attention_mask": MASK[:2]}, r"attention_mask has shape \(2,\)"),
        ({"input_ids": IDS, "attention_mask": MASK * 2}, r"attention_mask\[0\] is 2, expected 0 to 1"),
        ({"input_ids": IDS, "attention_mask": MASK == 1}, "attention_mask has dtype bool"),
        ({"input_ids": IDS, "attention_mask": MASK * 0}, "attention_mask has no 1"),
        ({"input_ids": IDS, "token_type_ids": MASK + 1}, r"token_type_ids\[0\] is 2"),
    ],
)
def test_a_malformed_request_is_refused_by_name(
    model: LayeredModel, inputs: dict[str, NDArray[Any]], named: str
) -> None:
    with pytest.raises(InvalidInput, match=named):
        model.prepare([inputs])
