"""The tensors that a model takes and gives, as runs on its longest and its shortest request show."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from services.core.errors import InvalidInput, InvalidModel

Tensors = Mapping[str, NDArray[Any]]

# By numpy's names; the right side is the Open Inference Protocol's.
DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
}
ANY_LENGTH = -1


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of one request, without a batch dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a model."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def between(
        cls, longest: tuple[Tensors, Tensors], shortest: tuple[Tensors, Tensors], required: Collection[str]
    ) -> "Signature":
        """From (inputs, outputs) of two runs that both have all of them: what differs in length is of any length.

        Raises: InvalidModel for an element type that has no name.
        """
        return cls(
            tuple(spec(name, longest[0][name], shortest[0][name], name not in required) for name in longest[0]),
            tuple(spec(name, longest[1][name], shortest[1][name]) for name in longest[1]),
        )

    def check_takes_strings(self, name: str) -> None:
        """Raises: InvalidInput for an input that is not of strings: few models expect to be given them."""
        if not any(tensor.name == name and tensor.datatype == "BYTES" for tensor in self.inputs):
            raise InvalidInput(f"input {name!r} is of strings, which this model does not take")

    def num_examples(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """How many examples inputs of these shapes are, if each has the same leading dimension more than one example;
        otherwise 0."""
        ranks = {tensor.name: len(tensor.shape) for tensor in self.inputs}
        lengths = {shape[0] if len(shape) - 1 == ranks.get(name) else 0 for name, shape in shapes.items()}
        return lengths.pop() if len(lengths) == 1 else 0


def spec(name: str, longest: NDArray[Any], shortest: NDArray[Any], is_optional: bool = False) -> TensorSpec:
    datatype = DATATYPES.get(longest.dtype.name)
    if datatype is None:
        raise InvalidModel(f"tensor {name!r} has the element type {longest.dtype}, which nobody can send")
    lengths = zip(longest.shape, shortest.shape, strict=True)
    return TensorSpec(name, datatype, tuple(a if a == b else ANY_LENGTH for a, b in lengths), is_optional)
