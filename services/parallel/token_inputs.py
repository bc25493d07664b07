"""Requests to models that read tokens: validated, padded to the fixed length, and stacked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidInput
from services.parallel.model import Inputs

_NAMES = ("input_ids", "attention_mask", "token_type_ids")
_DTYPES = (np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """What a model can read: lengths 1 … `sequence_length`, ids below the sizes of its tables."""

    sequence_length: int
    vocab_size: int
    type_vocab_size: int


def stack_tokens(batch: Sequence[Inputs], limits: TokenLimits) -> dict[str, NDArray[np.int32]]:
    """Pad and stack requests: `input_ids`, `attention_mask`, `token_type_ids`, each
    `(batch, sequence_length)`, and `length` `(batch,)`.

    Each request has `input_ids` `(length,)` and may have `attention_mask` (default ones) and
    `token_type_ids` (default zeros) of the same shape, all int32 or int64.

    Raises:
        InvalidInput: a request breaks that; the message names the tensor and the value.
    """
    stacked = {name: np.zeros((len(batch), limits.sequence_length), dtype=np.int32) for name in _NAMES}
    lengths = np.zeros(len(batch), dtype=np.int32)
    for row, inputs in enumerate(batch):
        tokens = _validated(inputs, limits)
        lengths[row] = length = len(tokens["input_ids"])
        stacked["attention_mask"][row, :length] = 1
        for name, values in tokens.items():
            stacked[name][row, :length] = values
    return {**stacked, "length": lengths}


def _validated(inputs: Inputs, limits: TokenLimits) -> Inputs:
    for name in inputs:
        if name not in _NAMES:
            raise InvalidInput(f"unknown input {name!r}: this model takes {', '.join(_NAMES)}")
    if "input_ids" not in inputs:
        raise InvalidInput("missing input 'input_ids'")
    shape = inputs["input_ids"].shape
    if len(shape) != 1 or not 1 <= shape[0] <= limits.sequence_length:
        raise InvalidInput(
            f"input_ids has shape {shape}, expected (length,) with length from 1 to {limits.sequence_length}"
        )
    sizes = {"input_ids": limits.vocab_size, "attention_mask": 2, "token_type_ids": limits.type_vocab_size}
    for name, values in inputs.items():
        _check_values(name, values, shape, sizes[name])
    if "attention_mask" in inputs and not inputs["attention_mask"].any():
        raise InvalidInput("attention_mask has no 1: there is nothing to attend to")
    return inputs


def _check_values(name: str, values: NDArray[np.int32 | np.int64], shape: tuple[int, ...], size: int) -> None:
    if values.dtype not in _DTYPES:
        raise InvalidInput(f"{name} has dtype {values.dtype}, expected int32 or int64")
    if values.shape != shape:
        raise InvalidInput(f"{name} has shape {values.shape}, expected that of input_ids, {shape}")
    outside = np.flatnonzero((values < 0) | (values >= size))
    if outside.size:
        raise InvalidInput(f"{name}[{outside[0]}] is {values[outside[0]]}, expected 0 to {size - 1}")
