"""Values of a model's config, checked one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.core.errors import InvalidModel

Config = Mapping[str, Any]


def count(config: Config, key: str) -> int:
    """Raises: InvalidModel, unless the value is a positive integer."""
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidModel(f"config.json: {key} must be a positive integer, got {value!r}")
    return value


def fraction(config: Config, key: str, default: float) -> float:
    """Raises: InvalidModel, unless the value is a number between 0 and 1."""
    value = positive(config, key, default)
    if value >= 1:
        raise InvalidModel(f"config.json: {key} must be a number between 0 and 1, got {value!r}")
    return value


def positive(config: Config, key: str, default: float) -> float:
    """Raises: InvalidModel, unless the value is a positive number."""
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidModel(f"config.json: {key} must be a positive number, got {value!r}")
    return float(value)


def choice(config: Config, key: str, default: str, choices: Sequence[str]) -> str:
    """Raises: InvalidModel, unless the value is one of `choices`."""
    value = config.get(key, default)
    if value not in choices:
        raise InvalidModel(f"config.json: {key} must be one of {list(choices)}, got {value!r}")
    return str(value)


def check_unset(config: Config, variants: Mapping[str, Any]) -> None:
    """Raises: InvalidModel, if a variant that is not supported is chosen; `variants` maps each key to its
    supported value, which is also what its absence means."""
    for key, supported in variants.items():
        value = config.get(key, supported)
        if value != supported:
            raise InvalidModel(f"config.json: {key} {value!r} is not supported, only {supported!r} is")


def check_heads(config: Config, hidden_key: str = "hidden_size", heads_key: str = "num_attention_heads") -> None:
    """Raises: InvalidModel, unless the heads divide the hidden size."""
    hidden_size, num_heads = count(config, hidden_key), count(config, heads_key)
    if hidden_size % num_heads:
        raise InvalidModel(f"config.json: {hidden_key} {hidden_size} is not a multiple of {heads_key} {num_heads}")
