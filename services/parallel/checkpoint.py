"""A model directory in the Hugging Face layout: JSON files and safetensors, read part by part."""

import json
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, safe_open

from services.core.errors import InvalidModel
from services.parallel.model import Index
from services.parallel.models.tensors import StoredTensor

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class Checkpoint:
    """The tensors of one directory; files stay closed between reads."""

    def __init__(self, directory: Path) -> None:
        """Look up which file holds which tensor.

        Raises:
            InvalidModel: the directory has no readable safetensors weights.
        """
        self._directory = directory
        self._files = _tensor_files(directory)

    def read(self, stored: StoredTensor, index: Index, dtype: DTypeLike) -> NDArray[Any]:
        """The part `index` of the first of the tensor's names that exists, as `dtype`.

        Raises:
            InvalidModel: none exists, or it has another shape.
        """
        name = next((name for name in stored.names if name in self._files), None)
        if name is None:
            raise InvalidModel(f"{self._directory}: no tensor {stored.names[0]!r}")
        path = self._files[name]
        with _open_weights(path) as weights:
            tensor = weights.get_slice(name)
            shape = tuple(tensor.get_shape())
            if shape != stored.shape:
                raise InvalidModel(f"{path}: tensor {name!r} has shape {shape}, config.json says {stored.shape}")
            values: NDArray[Any] = tensor[index]
        return values.astype(dtype, copy=False)


def read_json(path: Path) -> Any:
    """The parsed content of a JSON file.

    Raises:
        InvalidModel: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidModel(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InvalidModel(f"{path}: is not JSON ({error})") from error


def _tensor_files(directory: Path) -> dict[str, Path]:
    index = directory / _INDEX
    if index.is_file():
        content = read_json(index)
        names = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(names, dict):
            raise InvalidModel(f"{index}: has no weight_map")
        return {name: _beside(index, file) for name, file in names.items()}
    path = directory / _WEIGHTS
    with _open_weights(path) as weights:
        return dict.fromkeys(weights.keys(), path)


def _beside(index: Path, file: object) -> Path:
    """A checkpoint that came from elsewhere may not name files outside of its directory."""
    if not isinstance(file, str) or Path(file).name != file:
        raise InvalidModel(f"{index}: weight_map names {file!r}, which is no file beside it")
    return index.parent / file


def _open_weights(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="np")
    except (OSError, SafetensorError) as error:
        raise InvalidModel(f"{path}: cannot be read as safetensors ({error})") from error
