"""Which class serves a model source, by the `model_type` of its config."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.core.errors import InvalidModel
from services.core.model import ModelSource
from services.parallel.bert import BertEncoder
from services.parallel.bert_config import parse_bert_config
from services.parallel.checkpoint import Checkpoint, read_json
from services.parallel.model import LayeredModel
from services.parallel.sentence_pooling import read_sentence_pooling


def open_model(source: ModelSource) -> LayeredModel:
    """The model of `source`; no weights are read yet.

    Raises:
        InvalidModel: the source has neither checkpoint nor config, cannot be read, or names
            an architecture that is not supported.
    """
    if source.checkpoint:
        directory = Path(source.checkpoint)
        config = _checked(read_json(directory / "config.json"))
        pooling = read_sentence_pooling(directory)
        return BertEncoder(parse_bert_config(config), Checkpoint(directory), source.sequence_length, pooling)
    if not source.config:
        raise InvalidModel("a model without checkpoint and config runs on emulated devices only")
    try:
        config = _checked(json.loads(source.config))
    except ValueError as error:
        raise InvalidModel(f"the model's config is not JSON ({error})") from error
    return BertEncoder(parse_bert_config(config), source.seed, source.sequence_length)


def _checked(config: Any) -> Mapping[str, Any]:
    if not isinstance(config, dict):
        raise InvalidModel("config.json: is not an object")
    if config.get("model_type") != "bert":
        raise InvalidModel(f"config.json: model_type {config.get('model_type')!r} is not supported, only 'bert' is")
    return config
