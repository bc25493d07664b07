"""Values of a grid, as they are written on the command line and in forms."""

import math
from typing import TypeVar

from services.core.errors import InvalidArgument

ValueT = TypeVar("ValueT")


def counts(option: str, text: str) -> tuple[int, ...]:
    """`8,16,32`. Raises: InvalidArgument, naming the field and what it got."""
    values = tuple(_number(option, text, part) for part in text.split(","))
    for value in values:
        if not value.is_integer():
            raise InvalidArgument(f"{option} must be whole numbers, got {text!r}")
    return _distinct(option, text, tuple(int(value) for value in values))


def scales(option: str, text: str) -> tuple[float, ...]:
    """`0.5,1,2`. Raises: InvalidArgument, naming the field and what it got."""
    return _distinct(option, text, tuple(_number(option, text, part) for part in text.split(",")))


def words(option: str, text: str) -> tuple[str, ...]:
    """`a,b`. Raises: InvalidArgument, naming the field and what it got."""
    values = tuple(part.strip() for part in text.split(","))
    if "" in values:
        raise InvalidArgument(f"{option} must be names separated by commas, got {text!r}")
    return _distinct(option, text, values)


def _number(option: str, text: str, part: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise InvalidArgument(f"{option} must be numbers separated by commas, got {text!r}") from None
    if not (math.isfinite(value) and value > 0):
        raise InvalidArgument(f"{option} must be positive numbers, got {text!r}")
    return value


def _distinct(option: str, text: str, values: tuple[ValueT, ...]) -> tuple[ValueT, ...]:
    if len(set(values)) < len(values):
        raise InvalidArgument(f"{option} repeats a value: {text!r}")
    return values
