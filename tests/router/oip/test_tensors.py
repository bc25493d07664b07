"""Inputs that are refused before anything is made of them."""

import pytest
from alpaserve.oip.v2 import inference_pb2

from services.core.errors import InvalidInput
from services.router.oip.tensors import Input, to_tensor

MAX_BYTES = 1_000


@pytest.mark.parametrize("raw", [b"", None])
@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ([2**62] * 10_000, "'x' has 10000 dimensions, more than 64"),
        ([-1, -1], r"shape \[-1, -1\] has a negative length"),
    ],
)
def test_a_shape_that_no_array_has_is_refused(shape: list[int], says: str, raw: bytes | None) -> None:
    with pytest.raises(InvalidInput, match=says):
        to_tensor(Input(name="x", datatype="FP32", shape=shape), raw, MAX_BYTES)


def zeros(num: int) -> Input:
    contents = inference_pb2.InferTensorContents(int64_contents=[0] * num)
    return Input(name="x", datatype="INT64", shape=[num], contents=contents)


def test_typed_elements_may_grow_as_far_as_a_message() -> None:
    assert len(to_tensor(zeros(125), None, MAX_BYTES).data) == MAX_BYTES


def test_typed_elements_that_would_grow_further_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'x' makes 1008 bytes, allowed are 1000"):
        to_tensor(zeros(126), None, MAX_BYTES)
