"""A client's batch, apart and together again."""

import random
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest
from alpaserve.v1 import tensor_pb2
from alpaserve_client.strings import pack_strings
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.core.errors import InvalidInput
from services.core.signature import Signature, TensorSpec
from services.router.oip.batches import MAX_EXAMPLES, batch_of, examples_of
from services.router.oip.tensors import DATATYPES, Datatype

STRINGS = DATATYPES["BYTES"]
FIXED = [datatype for datatype in DATATYPES.values() if datatype is not STRINGS]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
SIGNATURE = Signature((TensorSpec("ids", "INT32", (-1,)), TensorSpec("pixels", "FP32", (2, 2, 3), True)), ())


def tensor(datatype: Datatype, shape: Sequence[int], data: bytes) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(dtype=datatype.code, shape=shape, data=data)


Y = tensor(DATATYPES["BOOL"], (2,), bytes(2))
MAX_BYTES = 10_000


@given(st.sampled_from(FIXED), st.integers(1, 5), SHAPES, st.integers())
def test_examples_have_their_rows_and_make_the_batch(
    datatype: Datatype, num: int, shape: tuple[int, ...], seed: int
) -> None:
    size = int(np.prod(shape)) * np.dtype(datatype.dtype).itemsize
    rows = [random.Random(f"{seed} {row}").randbytes(size) for row in range(num)]
    batch = {"x": tensor(datatype, (num, *shape), b"".join(rows))}
    examples = examples_of(batch, num)
    assert examples == [{"x": tensor(datatype, shape, row)} for row in rows]
    assert batch_of(examples, MAX_BYTES) == batch


@given(st.lists(st.lists(st.binary(max_size=5), min_size=2, max_size=2), min_size=1, max_size=5))
def test_so_have_those_of_strings(rows: list[list[bytes]]) -> None:
    batch = {"x": tensor(STRINGS, (len(rows), 2), pack_strings(chain.from_iterable(rows)))}
    examples = examples_of(batch, len(rows))
    assert examples == [{"x": tensor(STRINGS, (2,), pack_strings(row))} for row in rows]
    assert batch_of(examples, MAX_BYTES) == batch


@pytest.mark.parametrize(
    ("batch", "num", "says"),
    [
        (tensor(DATATYPES["INT32"], (2, 3), bytes(20)), 2, r"input 'x': shape \[2, 3\] takes 24 bytes, got 20"),
        (tensor(STRINGS, (2,), pack_strings([b"a"])), 2, "input 'x': 2 strings take 8 bytes at least, got 5"),
        (tensor(STRINGS, (2, 2**40), b""), 2, "input 'x': 2199023255552 strings in a batch, allowed are 65536"),
        (tensor(DATATYPES["BOOL"], (65,), bytes(65)), MAX_EXAMPLES + 1, "a batch of 65 examples, allowed are 64"),
    ],
)
def test_a_batch_that_is_none_is_refused(batch: tensor_pb2.Tensor, num: int, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        examples_of({"x": batch}, num)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"y": tensor(DATATYPES["BOOL"], (3,), bytes(3))}, r"'y' BOOL\[2\] and 'y' BOOL\[3\]: ask for them one by one"),
        ({"y": tensor(DATATYPES["INT16"], (2,), bytes(4))}, r"'y' BOOL\[2\] and 'y' INT16\[2\]"),
        ({"y": Y, "z": Y}, r"'y' BOOL\[2\] and 'y' BOOL\[2\], 'z' BOOL\[2\]"),
        ({}, r"'y' BOOL\[2\] and : "),
        ({"y": Y}, "the outputs of 3 examples take 6 bytes, allowed are 5"),
    ],
)
def test_outputs_that_differ_in_form_or_are_too_large_make_no_batch(
    other: dict[str, tensor_pb2.Tensor], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        batch_of([{"y": Y}, {"y": Y}, other], 5)


@pytest.mark.parametrize(
    ("shapes", "num"),
    [
        ({"ids": (7,)}, 0),
        ({"ids": (3, 7)}, 3),
        ({"ids": (1, 7), "pixels": (1, 2, 2, 3)}, 1),
        ({"ids": (2, 7), "pixels": (3, 2, 2, 3)}, 0),
        ({"ids": (2, 7), "pixels": (2, 2, 3)}, 0),
        ({"ids": (2, 7), "other": (2, 7)}, 0),
        ({"ids": (0, 7)}, 0),
        ({"ids": ()}, 0),
        ({}, 0),
    ],
)
def test_inputs_are_a_batch_if_all_have_the_same_dimension_more(shapes: dict[str, tuple[int, ...]], num: int) -> None:
    assert SIGNATURE.num_examples(shapes) == num
