"""Requests to models that read tokens: validated, padded to the fixed length, and stacked."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidInput, InvalidModel
from services.parallel.model import HostActivation, Inputs, Shapes

_DTYPES = (np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True, slots=True)
class TokenInputs:
    """What a model can read: lengths 1 … `sequence_length`, ids below the sizes of its tables.

    A model without token types (`type_vocab_size` 0) takes none; `length` is prepared on demand.
    """

    sequence_length: int
    vocab_size: int
    type_vocab_size: int = 0
    has_length: bool = True

    def check_positions(self, num_positions: int, key: str = "max_position_embeddings") -> None:
        """Raises: InvalidModel, if the model has too few positions; `key` is the config's word for them."""
        if self.sequence_length > num_positions:
            raise InvalidModel(f"sequence_length {self.sequence_length} exceeds {key} {num_positions}")

    @property
    def names(self) -> tuple[str, ...]:
        return ("input_ids", "attention_mask", *(("token_type_ids",) if self.type_vocab_size else ()))

    def example(self) -> Inputs:
        """A request of full length."""
        return {"input_ids": np.arange(self.sequence_length, dtype=np.int32) % self.vocab_size}

    def extremes(self) -> tuple[Inputs, Inputs]:
        """Requests with every input, of full length and of one token."""
        return self._whole(self.sequence_length), self._whole(1)

    def _whole(self, length: int) -> Inputs:
        zeros = dict.fromkeys(self.names, np.zeros(length, np.int32))
        return {**zeros, "attention_mask": np.ones(length, np.int32)}

    def shapes(self, batch_size: int) -> Shapes:
        """Shapes and dtypes of what `stack` returns."""
        tokens = jax.ShapeDtypeStruct((batch_size, self.sequence_length), np.int32)
        lengths = {"length": jax.ShapeDtypeStruct((batch_size,), np.int32)} if self.has_length else {}
        return dict.fromkeys(self.names, tokens) | lengths

    def stack(self, batch: Sequence[Inputs]) -> HostActivation:
        """Pad and stack requests: each tensor `(batch, sequence_length)`, and `length` `(batch,)`.

        Each request has `input_ids` `(length,)` and may have `attention_mask` (default ones) and
        `token_type_ids` (default zeros) of the same shape, all int32 or int64.

        Raises:
            InvalidInput: a request breaks that; the message names the tensor and the value.
        """
        stacked: HostActivation = {
            name: np.zeros(shape.shape, np.int32) for name, shape in self.shapes(len(batch)).items()
        }
        for row, inputs in enumerate(batch):
            self._check(inputs)
            length = len(inputs["input_ids"])
            stacked["attention_mask"][row, :length] = 1
            if self.has_length:
                stacked["length"][row] = length
            for name, values in inputs.items():
                stacked[name][row, :length] = values
        return stacked

    def _check(self, inputs: Inputs) -> None:
        for name in inputs:
            if name not in self.names:
                raise InvalidInput(f"unknown input {name!r}: this model takes {', '.join(self.names)}")
        if "input_ids" not in inputs:
            raise InvalidInput("missing input 'input_ids'")
        shape = inputs["input_ids"].shape
        if len(shape) != 1 or not 1 <= shape[0] <= self.sequence_length:
            raise InvalidInput(
                f"input_ids has shape {shape}, expected (length,) with length from 1 to {self.sequence_length}"
            )
        sizes = {"input_ids": self.vocab_size, "attention_mask": 2, "token_type_ids": self.type_vocab_size}
        for name, values in inputs.items():
            _check_values(name, values, shape, sizes[name])
        if "attention_mask" in inputs and not inputs["attention_mask"].any():
            raise InvalidInput("attention_mask has no 1: there is nothing to attend to")


def _check_values(name: str, values: NDArray[np.int32 | np.int64], shape: tuple[int, ...], size: int) -> None:
    if values.dtype not in _DTYPES:
        raise InvalidInput(f"{name} has dtype {values.dtype}, expected int32 or int64")
    if values.shape != shape:
        raise InvalidInput(f"{name} has shape {values.shape}, expected that of input_ids, {shape}")
    outside = np.flatnonzero((values < 0) | (values >= size))
    if outside.size:
        raise InvalidInput(f"{name}[{outside[0]}] is {values[outside[0]]}, expected 0 to {size - 1}")
