"""The tensors of a layer as its model holds them, and where their values come from.

A held tensor is a range of a stored one, transposed where the two disagree on the order of axes, so that
any part of it is a part of what is stored and can be had without the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import DTypeLike, NDArray

from services.core.errors import InvalidArgument
from services.parallel.model import Index, Shapes


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor by its names in checkpoints; random values are `mean` + `spread` · normal."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    mean: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class LayerTensor:
    """The range of `stored` from `offset` on (its start by default) that holds `shape`, which counts its
    axes backwards if the tensor is transposed."""

    stored: StoredTensor
    shape: tuple[int, ...]
    offset: tuple[int, ...] = ()
    is_transposed: bool = False


class Weights(Protocol):
    """Where values come from: a checkpoint or a seed."""

    def read(self, stored: StoredTensor, index: Index, dtype: DTypeLike) -> NDArray[Any]:
        """The part `index` of a stored tensor, and nothing else of it."""
        ...


def whole_tensor(
    names: tuple[str, ...], shape: tuple[int, ...], *, mean: float = 0.0, spread: float = 0.0
) -> LayerTensor:
    """A tensor that is held as it is stored."""
    return LayerTensor(StoredTensor(names, shape, mean, spread), shape)


def parameter_shapes(tensors: Mapping[str, LayerTensor], dtype: DTypeLike) -> Shapes:
    return {name: jax.ShapeDtypeStruct(tensor.shape, dtype) for name, tensor in tensors.items()}


def read_part(
    weights: Weights, tensors: Mapping[str, LayerTensor], name: str, index: Index, dtype: DTypeLike
) -> NDArray[Any]:
    """The part `index` of the tensor that is held as `name`.

    Raises:
        InvalidArgument: the layer has no such tensor, or the tensor no such part.
        InvalidModel: a checkpoint lacks the tensor or has another shape of it.
    """
    if name not in tensors:
        raise InvalidArgument(f"the layer has no tensor {name!r}, only {', '.join(tensors) or 'none'}")
    tensor = tensors[name]
    ranges = resolve_index(index, tensor.shape)
    if tensor.is_transposed:
        ranges = ranges[::-1]
    offset = tensor.offset or (0,) * len(ranges)
    stored = tuple(slice(part.start + start, part.stop + start) for part, start in zip(ranges, offset, strict=True))
    values = weights.read(tensor.stored, stored, dtype)
    return np.ascontiguousarray(values.T) if tensor.is_transposed else values


def resolve_index(index: Index, shape: tuple[int, ...]) -> Index:
    """The same part with every bound given.

    Raises:
        InvalidArgument: another number of axes, or a step other than 1.
    """
    if len(index) != len(shape) or any(part.step not in (None, 1) for part in index):
        raise InvalidArgument(f"index {index} is not one slice with step 1 for each axis of {shape}")
    bounds = [part.indices(size)[:2] for part, size in zip(index, shape, strict=True)]
    return tuple(slice(start, max(start, stop)) for start, stop in bounds)


def layer_name(layer: int, name: str) -> tuple[str, ...]:
    """The one name of a tensor in a checkpoint that keeps tensors as they are held."""
    return (f"layers.{layer}.{name}",)
