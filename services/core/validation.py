"""How documents are held against their schemas: what a value may be, and how a refusal names it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.core.errors import AlpaServeError

_INT64_MAX = 2**63 - 1
_SHOWN_CHARACTERS = 80


def _whole(value: object) -> object:
    """14e9 is a count as well: YAML and JSON writers do not always keep integers apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=_INT64_MAX)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


_DocumentT = TypeVar("_DocumentT", bound=BaseModel)
_FieldT = TypeVar("_FieldT")


def given(**fields: float | None) -> dict[str, float]:
    return {key: value for key, value in fields.items() if value is not None}


def each(
    key: str,
    parsed: Iterable[_DocumentT],
    build: Callable[[_DocumentT], _FieldT],
    error: type[AlpaServeError],
) -> tuple[_FieldT, ...]:
    """Build every item; what an item refuses is raised as `error`, with the item's place before it."""
    built = []
    for index, item in enumerate(parsed):
        try:
            built.append(build(item))
        except AlpaServeError as refusal:
            raise error(f"{key}[{index}]: {refusal}") from None
    return tuple(built)


def validated(kind: type[_DocumentT], document: object, error: type[AlpaServeError]) -> _DocumentT:
    if not isinstance(document, Mapping):
        raise error(f"expected an object with keys, got {_shown(document)}")
    try:
        return kind.model_validate(document)
    except ValidationError as refusal:
        first = refusal.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    shown = "" if first["type"] == "missing" else f", got {_shown(first['input'])}"
    raise error(f"{path}: {first['msg']}{shown}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
