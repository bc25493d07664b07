"""Texts as the inputs of a model, by the tokenizer of its checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidArgument

Tokenize = Callable[[str], dict[str, NDArray[Any]]]


def open_tokenizer(directory: Path) -> Tokenize:
    """Makes `input_ids` and `attention_mask`, (length,) int32 each, unpadded, of a text.

    Raises: InvalidArgument if there is none or the package that reads it is not there.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise InvalidArgument("texts need the package tokenizers: install alpaserve[demo]") from None
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise InvalidArgument(f"{path} does not exist")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()

    def tokenize(text: str) -> dict[str, NDArray[Any]]:
        encoding = tokenizer.encode(text)
        return {
            "input_ids": np.array(encoding.ids, dtype=np.int32),
            "attention_mask": np.array(encoding.attention_mask, dtype=np.int32),
        }

    return tokenize
