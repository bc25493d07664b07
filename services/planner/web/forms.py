"""What people type, read field by field: a fault belongs to the field that has it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from services.core.errors import AlpaServeError, InvalidArgument

# Above what is ever counted, and exact as a float.
MOST_POSITION = 2**53
ValueT = TypeVar("ValueT")


@dataclass
class Form:
    """The texts of a form and, once they are read, what is wrong with them, by field."""

    texts: Mapping[str, str]
    faults: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, parse: Callable[[str], ValueT], otherwise: ValueT) -> ValueT:
        """What `parse` makes of a field; `otherwise` where it is empty or wrong."""
        text = self.texts.get(name, "").strip()
        if not text:
            return otherwise
        try:
            return parse(text)
        except AlpaServeError as error:
            self.faults[name] = str(error)
            return otherwise


def number(text: str, low: float, high: float, *, above: bool = False) -> float:
    """From `low`, or only above it, to `high`. Raises: InvalidArgument, naming the text."""
    try:
        value = float(text)
    except ValueError:
        raise InvalidArgument(f"must be a number, got {text!r}") from None
    if not (math.isfinite(value) and low <= value <= high) or (above and value == low):
        raise InvalidArgument(f"must be {'above' if above else 'from'} {low:g} to {high:g}, got {text!r}")
    return value


def position(text: str) -> int:
    """A number from an address, at most MOST_POSITION; 0 for what is none."""
    try:
        return whole(text, 0, MOST_POSITION)
    except InvalidArgument:
        return 0


def whole(text: str, low: int, high: int) -> int:
    """Raises: InvalidArgument, naming the text."""
    value = number(text, low, high)
    if not value.is_integer():
        raise InvalidArgument(f"must be a whole number, got {text!r}")
    return int(value)
