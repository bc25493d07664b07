"""A client's batch: examples, each of which is served by itself, and their outputs put together again."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from alpaserve.v1 import tensor_pb2
from alpaserve_client.strings import pack_strings, unpack_strings

from services.core.errors import InvalidInput
from services.router.oip.tensors import DATATYPES, NAMES

Tensors = Mapping[str, tensor_pb2.Tensor]

MAX_EXAMPLES = 64
# They are walked one by one, while others wait.
MAX_STRINGS = 65_536


def examples_of(batch: Tensors, num_examples: int) -> list[dict[str, tensor_pb2.Tensor]]:
    """The inputs of each example; a batch of one gives its own. Raises: InvalidInput, naming the offending value."""
    if num_examples > MAX_EXAMPLES:
        raise InvalidInput(f"a batch of {num_examples} examples, allowed are {MAX_EXAMPLES}")
    if num_examples == 1:
        for tensor in batch.values():
            del tensor.shape[0]
        return [dict(batch)]
    split = {name: _split(name, tensor) for name, tensor in batch.items()}
    return [{name: tensors[k] for name, tensors in split.items()} for k in range(num_examples)]


def batch_of(examples: Sequence[Tensors], max_bytes: int) -> dict[str, tensor_pb2.Tensor]:
    """Their outputs as one; those of one example stay where they are.

    Raises: InvalidInput if they differ in form, or take too many bytes.
    """
    first = examples[0]
    if len(examples) == 1:
        for tensor in first.values():
            tensor.shape.insert(0, 1)
        return dict(first)
    other = next((one for one in examples if forms(one) != forms(first)), None)
    if other is not None:
        raise InvalidInput(
            f"examples of this batch have different outputs, {told(first)} and {told(other)}: ask for them one by one"
        )
    # Before they are copied: together they may be many times what can be answered.
    if (num_bytes := sum(len(tensor.data) for example in examples for tensor in example.values())) > max_bytes:
        raise InvalidInput(f"the outputs of {len(examples)} examples take {num_bytes} bytes, allowed are {max_bytes}")
    return {
        name: tensor_pb2.Tensor(
            dtype=tensor.dtype,
            shape=[len(examples), *tensor.shape],
            data=b"".join(example[name].data for example in examples),
        )
        for name, tensor in first.items()
    }


def forms(tensors: Tensors) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}


def told(tensors: Tensors) -> str:
    return ", ".join(f"{name!r} {datatype}{list(shape)}" for name, (datatype, shape) in forms(tensors).items())


def _split(name: str, tensor: tensor_pb2.Tensor) -> list[tensor_pb2.Tensor]:
    num, *shape = tensor.shape
    data, size, dtype = tensor.data, math.prod(shape), DATATYPES[NAMES[tensor.dtype]].dtype
    if not dtype:
        if num * size > MAX_STRINGS:
            raise InvalidInput(f"input {name!r}: {num * size} strings in a batch, allowed are {MAX_STRINGS}")
        try:
            strings = unpack_strings(data, num * size)
        except ValueError as error:
            raise InvalidInput(f"input {name!r}: {error}") from None
        parts = [pack_strings(strings[k * size : (k + 1) * size]) for k in range(num)]
    else:
        num_bytes = size * np.dtype(dtype).itemsize
        if len(data) != num * num_bytes:
            raise InvalidInput(
                f"input {name!r}: shape {list(tensor.shape)} takes {num * num_bytes} bytes, got {len(data)}"
            )
        parts = [data[k * num_bytes : (k + 1) * num_bytes] for k in range(num)]
    return [tensor_pb2.Tensor(dtype=tensor.dtype, shape=shape, data=part) for part in parts]
