"""Tensors of the Open Inference Protocol and our own. The leader reads what travels raw; here it passes unread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from alpaserve.oip.v2 import inference_pb2
from alpaserve.v1 import tensor_pb2
from alpaserve_client.strings import pack_strings, unpack_strings
from alpaserve_client.tensors import MAX_RANK

from services.core.errors import InvalidInput

Input = inference_pb2.ModelInferRequest.InferInputTensor
Output = inference_pb2.ModelInferResponse.InferOutputTensor


@dataclass(frozen=True, slots=True)
class Datatype:
    """`contents` is the field of typed elements, empty where they travel raw only; `dtype` is numpy's on the wire."""

    code: tensor_pb2.DataType.ValueType
    config: inference_pb2.DataType.ValueType
    contents: str
    dtype: str


DATATYPES = {
    "BOOL": Datatype(tensor_pb2.DATA_TYPE_BOOL, inference_pb2.TYPE_BOOL, "bool_contents", "?"),
    "UINT8": Datatype(tensor_pb2.DATA_TYPE_UINT8, inference_pb2.TYPE_UINT8, "uint_contents", "u1"),
    "UINT16": Datatype(tensor_pb2.DATA_TYPE_UINT16, inference_pb2.TYPE_UINT16, "uint_contents", "<u2"),
    "UINT32": Datatype(tensor_pb2.DATA_TYPE_UINT32, inference_pb2.TYPE_UINT32, "uint_contents", "<u4"),
    "UINT64": Datatype(tensor_pb2.DATA_TYPE_UINT64, inference_pb2.TYPE_UINT64, "uint64_contents", "<u8"),
    "INT8": Datatype(tensor_pb2.DATA_TYPE_INT8, inference_pb2.TYPE_INT8, "int_contents", "i1"),
    "INT16": Datatype(tensor_pb2.DATA_TYPE_INT16, inference_pb2.TYPE_INT16, "int_contents", "<i2"),
    "INT32": Datatype(tensor_pb2.DATA_TYPE_INT32, inference_pb2.TYPE_INT32, "int_contents", "<i4"),
    "INT64": Datatype(tensor_pb2.DATA_TYPE_INT64, inference_pb2.TYPE_INT64, "int64_contents", "<i8"),
    "FP16": Datatype(tensor_pb2.DATA_TYPE_FP16, inference_pb2.TYPE_FP16, "", "<f2"),
    "BF16": Datatype(tensor_pb2.DATA_TYPE_BF16, inference_pb2.TYPE_BF16, "", "<u2"),
    "FP32": Datatype(tensor_pb2.DATA_TYPE_FP32, inference_pb2.TYPE_FP32, "fp32_contents", "<f4"),
    "FP64": Datatype(tensor_pb2.DATA_TYPE_FP64, inference_pb2.TYPE_FP64, "fp64_contents", "<f8"),
    "BYTES": Datatype(tensor_pb2.DATA_TYPE_BYTES, inference_pb2.TYPE_STRING, "bytes_contents", ""),
}
NAMES = {datatype.code: name for name, datatype in DATATYPES.items()}


def to_tensor(given: Input, raw: bytes | None, max_bytes: int) -> tensor_pb2.Tensor:
    """An input as the leader takes it, of no more than `max_bytes` if it grows by that.

    Raises: InvalidInput, naming the offending value.
    """
    datatype = DATATYPES.get(given.datatype)
    if datatype is None:
        known = ", ".join(DATATYPES)
        raise InvalidInput(f"input {given.name!r} has the unknown datatype {given.datatype!r}; there are: {known}")
    check_shape(given)
    data = typed_data(given, datatype, max_bytes) if raw is None else raw
    return tensor_pb2.Tensor(dtype=datatype.code, shape=given.shape, data=data)


def check_shape(given: Input) -> None:
    """Raises: InvalidInput for more dimensions than arrays have, or a negative length."""
    if len(given.shape) > MAX_RANK:
        raise InvalidInput(f"input {given.name!r} has {len(given.shape)} dimensions, more than {MAX_RANK}")
    if given.shape and min(given.shape) < 0:
        raise InvalidInput(f"input {given.name!r}: shape {list(given.shape)} has a negative length")


def typed_data(given: Input, datatype: Datatype, max_bytes: int) -> bytes:
    """The bytes of typed elements. Raises: InvalidInput, naming the offending value."""
    for field, others in given.contents.ListFields():
        if field.name != datatype.contents:
            place = datatype.contents or "raw_input_contents"
            raise InvalidInput(
                f"input {given.name!r} has {len(others)} {field.name}; those of {given.datatype} go into {place}"
            )
    elements: Sequence[Any] = getattr(given.contents, datatype.contents) if datatype.contents else ()
    if len(elements) != math.prod(given.shape):
        raise InvalidInput(
            f"input {given.name!r}: shape {list(given.shape)} needs {math.prod(given.shape)} elements of "
            f"{given.datatype}, got {len(elements)}"
        )
    if not datatype.dtype:
        return pack_strings(elements)
    dtype = np.dtype(datatype.dtype)
    # Small numbers take one byte each as they come, and up to eight from here on.
    if (num_bytes := len(elements) * dtype.itemsize) > max_bytes:
        raise InvalidInput(f"input {given.name!r} makes {num_bytes} bytes, allowed are {max_bytes}")
    try:
        return np.array(list(elements), dtype).tobytes()
    except OverflowError as error:
        raise InvalidInput(f"input {given.name!r}: {error}") from None


def is_raw_only(tensor: tensor_pb2.Tensor) -> bool:
    return not DATATYPES[NAMES[tensor.dtype]].contents


def to_output(name: str, tensor: tensor_pb2.Tensor, is_typed: bool) -> Output:
    """An output; without its elements unless they are to be typed."""
    output = Output(name=name, datatype=NAMES[tensor.dtype], shape=tensor.shape)
    if is_typed:
        datatype = DATATYPES[output.datatype]
        data = tensor.data
        num = math.prod(tensor.shape)
        elements = np.frombuffer(data, datatype.dtype).tolist() if datatype.dtype else unpack_strings(data, num)
        getattr(output.contents, datatype.contents).extend(elements)
    return output
