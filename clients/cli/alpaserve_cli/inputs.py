"""Where the inputs of replayed requests come from.

An `InputSource` is any callable of a model's name and the request's index; it is called once per
request, on the sending loop, so it hands out arrays that exist already. The ones here can be sent
to other processes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alpaserve_cli.files import read_lines
from services.core.errors import InvalidArgument

_NUM_RANDOM_EXAMPLES = 64
_LEAST_TOKEN = 1000

Example = Mapping[str, NDArray[Any]]


class InputSource(Protocol):
    """The inputs of the index-th request, by name and without a batch dimension."""

    def __call__(self, model: str, index: int, /) -> Mapping[str, ArrayLike]: ...


@dataclass(frozen=True, slots=True)
class Examples:
    """The same examples for all models, over and over."""

    rows: Sequence[Example]

    def __call__(self, _model: str, index: int, /) -> Example:
        return self.rows[index % len(self.rows)]


@dataclass(frozen=True, slots=True)
class ByModel:
    """A source for each model, and perhaps one for the others. Raises: InvalidArgument for a model without any."""

    sources: Mapping[str, InputSource]
    otherwise: InputSource | None = None

    def __call__(self, model: str, index: int, /) -> Mapping[str, ArrayLike]:
        source = self.sources.get(model, self.otherwise)
        if source is None:
            raise InvalidArgument(f"there are no inputs of model {model!r}")
        return source(model, index)


def random_tokens(seed: int = 0, *, num_tokens: int = 128, vocabulary: int = 30_000) -> InputSource:
    """What a BERT-like model takes: `input_ids` (num_tokens,) int32, 64 texts in turn."""
    return random_texts(np.full(_NUM_RANDOM_EXAMPLES, num_tokens), seed, vocabulary)


def random_texts(lengths: NDArray[np.int64], seed: int = 0, vocabulary: int = 30_000) -> Examples:
    """Texts of these lengths (num_texts,), in turn."""
    rng = np.random.default_rng(seed)
    texts = (rng.integers(_LEAST_TOKEN, vocabulary, size=length, dtype=np.int32) for length in lengths)
    return Examples([{"input_ids": text} for text in texts])


def no_inputs(_model: str, _index: int) -> Mapping[str, ArrayLike]:
    """What emulated devices are content with."""
    return {}


def read_npz(path: Path) -> InputSource:
    """Arrays by input name, one example a row. Raises: InvalidArgument."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Examples(_rows(dict(archive)))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path}: {error}") from None


def _rows(arrays: Mapping[str, NDArray[Any]]) -> list[Example]:
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if not lengths or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"every input needs the same number of examples, at least one; got {lengths}")
    return [{name: array[index] for name, array in arrays.items()} for index in range(next(iter(lengths.values())))]


def read_json(path: Path) -> InputSource:
    """Examples in turn, from `[{"input_ids": [101, 102]}, …]`; or by model,
    from `{"m0": [{…}, …], …}`. Whole numbers become int32, others float32.

    Raises: InvalidArgument.
    """
    try:
        document = json.loads(path.read_text())
        if isinstance(document, dict):
            return ByModel({model: _examples(rows) for model, rows in document.items()})
        return _examples(document)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidArgument(f"{path}: {error}") from None


def read_json_lines(path: Path) -> InputSource:
    """An example a line, `{"input_ids": [101, 102]}`, .gz or not; blank lines do not count. Raises: InvalidArgument."""
    return _read_each(path, lambda line: _example(json.loads(line)))


def read_texts(path: Path, tokenize: Callable[[str], Example]) -> InputSource:
    """A text a line, .gz or not; blank lines do not count. Raises: InvalidArgument."""
    return _read_each(path, tokenize)


def _read_each(path: Path, parse: Callable[[str], Example]) -> Examples:
    lines = read_lines(path, lambda found: [line.strip() for line in found])
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows += [parse(line)] if line else []
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidArgument(f"{path}: line {number}: {error}") from None
    if not rows:
        raise InvalidArgument(f"{path}: there are no examples")
    return Examples(rows)


def _examples(rows: list[dict[str, Any]]) -> Examples:
    if not rows:
        raise ValueError("there are no examples")
    return Examples([_example(row) for row in rows])


def _example(row: dict[str, Any]) -> Example:
    return {name: json_array(value) for name, value in row.items()}


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
