"""Which class serves a model source, by the `model_type` of its config.

Types that are not the house's own are looked up among the installed entry points of the group
`alpaserve.models`: the name is the type, the object a callable like those in `_OPENERS`.
"""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.checkpoint import read_json
from services.parallel.model import LayeredModel
from services.parallel.models.bert import open_bert
from services.parallel.models.configs import shipped_config, shipped_names
from services.parallel.models.gpt import open_gpt
from services.parallel.models.moe import open_moe
from services.parallel.models.wide_resnet import open_wide_resnet

ENTRY_POINTS = "alpaserve.models"

Opener = Callable[[Mapping[str, Any], ModelSource], LayeredModel]

_OPENERS: Mapping[str, Opener] = {"bert": open_bert, "gpt2": open_gpt, "moe": open_moe, "wide_resnet": open_wide_resnet}


def open_model(source: ModelSource) -> LayeredModel:
    """The model of `source`; no weights are read yet.

    Raises:
        InvalidModel: the source has neither checkpoint nor config, cannot be read, or names
            an architecture that is not supported.
    """
    config = _config(source)
    if not isinstance(config, dict):
        raise InvalidModel("config.json: is not an object")
    return _opener(config.get("model_type"))(config, source)


def _config(source: ModelSource) -> Any:
    if source.checkpoint:
        return read_json(Path(source.checkpoint) / "config.json")
    if not source.config:
        raise InvalidModel("a model without checkpoint and config runs on emulated devices only")
    if source.config in shipped_names():
        return shipped_config(source.config)
    try:
        return json.loads(source.config)
    except ValueError as error:
        names = ", ".join(shipped_names())
        raise InvalidModel(
            f"the model's config {source.config[:40]!r} is not JSON ({error}) and none of {names}"
        ) from error


def _opener(model_type: object) -> Opener:
    if isinstance(model_type, str) and model_type in _OPENERS:
        return _OPENERS[model_type]
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if not isinstance(model_type, str) or model_type not in found:
        known = ", ".join(sorted({*_OPENERS, *found}))
        raise InvalidModel(f"config.json: model_type {model_type!r} is not known, only {known}")
    entry = found[model_type]
    try:
        opener: Opener = entry.load()
    except (ImportError, AttributeError) as error:
        raise InvalidModel(f"model_type {model_type!r}: {entry.value} cannot be loaded ({error})") from error
    return opener
