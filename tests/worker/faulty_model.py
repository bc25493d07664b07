"""A model of a user's own that computes like BERT, and fails when its first outputs are collected."""

from collections.abc import Mapping
from typing import Any

import jax

from services.core.model import ModelSource
from services.parallel.model import LayeredModel
from services.parallel.models.bert import open_bert

FAILURES: Mapping[str, Exception] = {
    "key": KeyError("no such head"),
    "device": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory while trying to allocate 8 bytes"),
}


class FaultyModel:
    """All but its last step is the model's."""

    def __init__(self, model: LayeredModel, failure: Exception) -> None:
        self._model = model
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def collect(self, activation: Any) -> Any:
        raise self._failure


def open_faulty(config: Mapping[str, Any], source: ModelSource) -> Any:
    return FaultyModel(open_bert(config, source), FAILURES[config["failure"]])
