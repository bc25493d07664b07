"""The codec: what goes in comes out; what is malformed is named."""

from typing import Any

import hypothesis.extra.numpy as arrays
import ml_dtypes
import numpy as np
import pytest
from alpaserve.v1.tensor_pb2 import DATA_TYPE_BOOL, DATA_TYPE_BYTES, DATA_TYPE_INT8, DATA_TYPE_INT32, Tensor
from alpaserve_client import decode_tensor, encode_tensor
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@given(st.data(), st.sampled_from(DTYPES), st.sampled_from("<>"), SHAPES)
def test_an_array_comes_back_as_it_was(data: st.DataObject, dtype: str, order: str, shape: tuple[int, ...]) -> None:
    given_array: NDArray[Any] = data.draw(arrays.arrays(np.dtype(order + dtype), shape))

    returned = decode_tensor(Tensor.FromString(encode_tensor(given_array).SerializeToString()))

    assert returned.dtype == np.dtype("<" + dtype)
    assert returned.shape == given_array.shape
    assert np.array_equal(returned, given_array, equal_nan=dtype.startswith("f"))


@pytest.mark.parametrize(
    "layout",
    [
        lambda array: array.T,
        lambda array: array[::2],
        lambda array: array[:, ::-1],
        np.asfortranarray,
    ],
    ids=["transposed", "strided", "reversed", "fortran"],
)
def test_any_memory_layout_is_sent_row_major(layout: Any) -> None:
    array = layout(np.arange(24, dtype=np.int32).reshape(4, 6))

    assert np.array_equal(decode_tensor(encode_tensor(array)), array)


def test_a_scalar_has_no_dimensions() -> None:
    tensor = encode_tensor(np.float32(2.5))

    assert list(tensor.shape) == []
    assert decode_tensor(tensor) == np.float32(2.5)


def test_the_bytes_are_little_endian() -> None:
    assert encode_tensor(np.array([1], dtype=">i4")).data == b"\x01\x00\x00\x00"


@pytest.mark.parametrize("array", [[1, 2], ["text"]])
def test_a_decoded_array_is_read_only(array: list[Any]) -> None:
    assert not decode_tensor(encode_tensor(array)).flags.writeable


@given(arrays.arrays(np.object_, SHAPES, elements=st.binary(max_size=9)))
def test_strings_of_bytes_come_back_as_they_were(given_array: NDArray[Any]) -> None:
    returned = decode_tensor(Tensor.FromString(encode_tensor(given_array).SerializeToString()))

    assert returned.dtype == np.object_
    assert returned.shape == given_array.shape
    assert returned.tolist() == given_array.tolist()


def test_texts_are_sent_as_utf8() -> None:
    assert decode_tensor(encode_tensor([["Zoë", ""]])).tolist() == [["Zoë".encode(), b""]]


def test_bfloat16_keeps_its_bits() -> None:
    given_array = np.arange(256, dtype=np.uint16).view(ml_dtypes.bfloat16).reshape(16, 16)

    returned = decode_tensor(encode_tensor(given_array))

    assert returned.dtype == given_array.dtype
    assert returned.tobytes() == given_array.tobytes()


@pytest.mark.parametrize("array", [[1j], [None], [np.datetime64("2020-01-01")]])
def test_an_element_type_that_the_wire_lacks_is_refused(array: list[Any]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        encode_tensor(array)


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (Tensor(shape=[1], data=b"x"), "unknown element type 0"),
        (Tensor(dtype=99, shape=[1], data=b"x"), "unknown element type 99"),  # type: ignore[arg-type]
        (Tensor(dtype=DATA_TYPE_INT32, shape=[2, 2], data=b"\0" * 15), r"\(2, 2\) needs 16 bytes, got 15"),
        (Tensor(dtype=DATA_TYPE_INT32, shape=[], data=b""), r"\(\) needs 4 bytes, got 0"),
        (Tensor(dtype=DATA_TYPE_INT8, shape=[-1, -1], data=b"x"), "negative length"),
        (Tensor(dtype=DATA_TYPE_INT8, shape=[1] * 65, data=b"x"), "65 dimensions"),
        (Tensor(dtype=DATA_TYPE_INT8, shape=[0, 2**62, 2**62]), "is no array"),
        (Tensor(dtype=DATA_TYPE_BOOL, shape=[2], data=b"\1\2"), "the byte 2"),
        (Tensor(dtype=DATA_TYPE_BYTES, shape=[2], data=b"\0\0\0\0"), r"\(2,\): 2 strings take 8 bytes at least, got 4"),
        (Tensor(dtype=DATA_TYPE_BYTES, shape=[2**40] * 64, data=b"\0\0\0\0"), "bytes at least, got 4"),
        (Tensor(dtype=DATA_TYPE_BYTES, shape=[1], data=b"\2\0\0\0x"), "5 bytes of strings end within string 0"),
        (Tensor(dtype=DATA_TYPE_BYTES, shape=[2], data=b"\2\0\0\0xyz\0"), "8 bytes of strings end within string 1"),
        (Tensor(dtype=DATA_TYPE_BYTES, shape=[1], data=b"\1\0\0\0xyz"), "1 strings take 5 bytes, got 7"),
    ],
)
def test_a_malformed_tensor_is_refused_with_its_values(tensor: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        decode_tensor(tensor)
