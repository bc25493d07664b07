"""How a sentence-transformers directory turns hidden states into one embedding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.core.errors import InvalidModel
from services.parallel.checkpoint import read_json

_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclass(frozen=True, slots=True)
class SentencePooling:
    """`mode` is `mean` (over the attended tokens) or `cls` (the first token)."""

    mode: str
    is_normalized: bool


def read_sentence_pooling(directory: Path) -> SentencePooling | None:
    """Read `modules.json` and the pooling module's config; None for a plain model directory.

    Raises:
        InvalidModel: a module or pooling mode that is not supported.
    """
    path = directory / "modules.json"
    if not path.is_file():
        return None
    modules = [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in _modules(path)]
    kinds = tuple(kind for kind, _ in modules)
    if kinds not in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")) or modules[0][1]:
        raise InvalidModel(f"{path}: the modules {modules} are not supported")
    mode = _mode(directory / modules[1][1] / "config.json")
    return SentencePooling(mode, is_normalized=kinds[-1] == "Normalize")


def _modules(path: Path) -> list[dict[str, Any]]:
    modules = read_json(path)
    if not isinstance(modules, list) or not all(isinstance(m, dict) and {"type", "path"} <= m.keys() for m in modules):
        raise InvalidModel(f"{path}: is not a list of modules with a type and a path")
    return modules


def _mode(path: Path) -> str:
    config = read_json(path)
    if not isinstance(config, dict):
        raise InvalidModel(f"{path}: is not an object")
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in _MODES:
        raise InvalidModel(f"{path}: the pooling modes {chosen} are not supported")
    return _MODES[chosen[0]]
