"""Requests as Triton's client makes them."""

from typing import Any

from numpy.typing import NDArray
from tritonclient import grpc as triton
from tritonclient.utils import np_to_triton_dtype


def given(**arrays: NDArray[Any]) -> list[triton.InferInput]:
    """Inputs by name."""
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return inputs
