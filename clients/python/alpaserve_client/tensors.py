"""Arrays to wire tensors and back: dense, row-major, little-endian, nothing guessed.

Arrays of objects hold strings of bytes; bfloat16 needs ml_dtypes, and JAX brings it.
"""

import math
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from alpaserve.v1 import tensor_pb2
from numpy.typing import ArrayLike, NDArray

from alpaserve_client.strings import pack_strings, unpack_strings

_DTYPES: Final[dict[tensor_pb2.DataType.ValueType, np.dtype[Any]]] = {
    tensor_pb2.DATA_TYPE_BOOL: np.dtype(np.bool_),
    tensor_pb2.DATA_TYPE_INT8: np.dtype(np.int8),
    tensor_pb2.DATA_TYPE_INT16: np.dtype("<i2"),
    tensor_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
    tensor_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype(np.uint8),
    tensor_pb2.DATA_TYPE_UINT16: np.dtype("<u2"),
    tensor_pb2.DATA_TYPE_UINT32: np.dtype("<u4"),
    tensor_pb2.DATA_TYPE_UINT64: np.dtype("<u8"),
    tensor_pb2.DATA_TYPE_FP16: np.dtype("<f2"),
    tensor_pb2.DATA_TYPE_FP32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_FP64: np.dtype("<f8"),
}
if find_spec("ml_dtypes"):
    import ml_dtypes

    _DTYPES[tensor_pb2.DATA_TYPE_BF16] = np.dtype(ml_dtypes.bfloat16)
_CODES: Final = {dtype: code for code, dtype in _DTYPES.items()}
MAX_RANK: Final = 64
_STRINGS: Final = "SUO"


def encode_tensor(array: ArrayLike) -> tensor_pb2.Tensor:
    """Any memory layout and byte order is accepted; scalars have the shape (). Texts become UTF-8.

    Raises: ValueError for an element type that the wire does not know.
    """
    given = np.asarray(array)
    if given.dtype.kind in _STRINGS:
        data = pack_strings(map(_string, given.ravel().tolist()))
        return tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_BYTES, shape=given.shape, data=data)
    dtype = given.dtype.newbyteorder("<")
    code = _CODES.get(dtype)
    if code is None:
        known = ", ".join(known.name for known in _CODES)
        raise ValueError(f"element type {given.dtype} cannot be sent; there are: {known}")
    data = given.astype(dtype, copy=False).tobytes(order="C")
    return tensor_pb2.Tensor(dtype=code, shape=given.shape, data=data)


def decode_tensor(tensor: tensor_pb2.Tensor) -> NDArray[Any]:
    """A read-only array over the tensor's own bytes, in the tensor's shape; nothing but strings is copied.

    Raises: ValueError for an unknown element type, a shape that is none, a number of bytes or strings
    that does not follow from them, or a boolean byte other than 0 and 1.
    """
    if len(tensor.shape) > MAX_RANK:
        raise ValueError(f"tensor has {len(tensor.shape)} dimensions, more than {MAX_RANK}")
    shape, data = tuple(tensor.shape), tensor.data
    if shape and min(shape) < 0:
        raise ValueError(f"tensor shape {shape} has a negative length")
    if tensor.dtype == tensor_pb2.DATA_TYPE_BYTES:
        return _decode_strings(data, shape)
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise ValueError(f"tensor has the unknown element type {tensor.dtype}")
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise ValueError(f"tensor of {dtype.name} and shape {shape} needs {expected} bytes, got {len(data)}")
    if dtype.kind == "b" and data and (largest := np.frombuffer(data, np.uint8).max()) > 1:
        raise ValueError(f"tensor of bool holds the byte {largest}; only 0 and 1 are booleans")
    return _shaped(np.frombuffer(data, dtype), shape)


def _decode_strings(data: bytes, shape: tuple[int, ...]) -> NDArray[np.object_]:
    try:
        strings = unpack_strings(data, math.prod(shape))
    except ValueError as error:
        raise ValueError(f"tensor of strings and shape {shape}: {error}") from None
    array = np.empty(len(strings), np.object_)
    array[:] = strings
    array.flags.writeable = False
    return _shaped(array, shape)


def _shaped(flat: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise ValueError(f"tensor shape {shape} is no array: {error}") from None


def _string(element: object) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if not isinstance(element, bytes):
        raise ValueError(f"element {element!r} cannot be sent: of objects, only texts and bytes can")
    return element
