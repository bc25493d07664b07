"""Where the inputs of replayed requests come from.

An `InputSource` is any callable of a model's name and the request's index; it is called once per
request, on the sending loop, so it hands out arrays that exist already.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.core.errors import InvalidArgument

_NUM_RANDOM_EXAMPLES = 64


class InputSource(Protocol):
    """The inputs of the index-th request, by name and without a batch dimension."""

    def __call__(self, model: str, index: int, /) -> Mapping[str, ArrayLike]: ...


def random_tokens(seed: int = 0, *, num_tokens: int = 128, vocabulary: int = 30_000) -> InputSource:
    """What a BERT-like model takes: `input_ids` (num_tokens,) int32, 64 texts in turn."""
    examples = np.random.default_rng(seed).integers(
        1000, vocabulary, size=(_NUM_RANDOM_EXAMPLES, num_tokens), dtype=np.int32
    )
    return lambda _model, index: {"input_ids": examples[index % _NUM_RANDOM_EXAMPLES]}


def no_inputs(_model: str, _index: int) -> Mapping[str, ArrayLike]:
    """What emulated devices are content with."""
    return {}


def arrays_in_turn(arrays: Mapping[str, NDArray[Any]]) -> InputSource:
    """Example i is row i of every array, over and over.

    Raises: InvalidArgument if there are no rows or the arrays differ in their number.
    """
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if not lengths or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InvalidArgument(f"every input needs the same number of examples, at least one; got {lengths}")
    num_examples = next(iter(lengths.values()))

    def example(_model: str, index: int) -> Mapping[str, ArrayLike]:
        return {name: array[index % num_examples] for name, array in arrays.items()}

    return example


def read_npz(path: Path) -> InputSource:
    """Arrays by input name, one example a row.

    Raises: InvalidArgument.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return arrays_in_turn(dict(archive))
    except (OSError, ValueError, InvalidArgument) as error:
        raise InvalidArgument(f"{path}: {error}") from None


def read_json(path: Path) -> InputSource:
    """Examples in turn, from `[{"input_ids": [101, 102]}, …]`; or by model,
    from `{"m0": [{…}, …], …}`. Whole numbers become int32, others float32.

    Raises: InvalidArgument.
    """
    try:
        document = json.loads(path.read_text())
        if isinstance(document, dict):
            return _by_model({model: _examples(rows) for model, rows in document.items()}, path)
        examples = _examples(document)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidArgument(f"{path}: {error}") from None
    return lambda _model, index: examples[index % len(examples)]


def _by_model(examples: Mapping[str, list[dict[str, NDArray[Any]]]], path: Path) -> InputSource:
    def example(model: str, index: int) -> Mapping[str, ArrayLike]:
        if model not in examples:
            raise InvalidArgument(f"{path} has no inputs of model {model!r}")
        return examples[model][index % len(examples[model])]

    return example


def _examples(rows: list[dict[str, Any]]) -> list[dict[str, NDArray[Any]]]:
    if not rows:
        raise ValueError("there are no examples")
    return [{name: json_array(value) for name, value in row.items()} for row in rows]


def json_array(value: Any, dtype: str = "") -> NDArray[Any]:
    """Nested lists as an array of `dtype`; without one, whole numbers are int32, others float32.

    Raises: ValueError for what is no array, TypeError for no dtype.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{value!r} is no array of numbers")
    chosen = np.dtype(dtype or {"b": "bool", "i": "int32", "u": "int32", "f": "float32"}[array.dtype.kind])
    if chosen.kind not in "iu" or not array.size:
        return array.astype(chosen, casting="same_kind" if chosen.kind == "b" else "unsafe")
    bounds = np.iinfo(chosen)
    if array.dtype.kind == "f" or not (bounds.min <= array.min() and array.max() <= bounds.max):
        raise ValueError(f"{value!r} does not fit into {chosen}")
    return array.astype(chosen)
