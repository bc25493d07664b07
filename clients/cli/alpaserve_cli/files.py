"""The files that commands read: JSON or YAML by extension, CSV workloads, plain or gzipped.

Everything a file can do wrong ends as one `AlpaServeError` whose message begins with its path.
"""

import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

import yaml

from services.core.documents import parse_placement, parse_spec
from services.core.errors import AlpaServeError, InvalidArgument
from services.core.placement import Placement
from services.core.profile import Profiles
from services.core.profile_documents import parse_profiles
from services.core.spec import Spec
from services.core.workload import Workload, parse_workload

ParsedT = TypeVar("ParsedT")


def read_spec(path: Path) -> Spec:
    return _parsed(path, lambda: parse_spec(read_document(path)))


def read_profiles(path: Path) -> Profiles:
    return _parsed(path, lambda: parse_profiles(read_document(path)))


def read_placement(path: Path) -> Placement:
    return _parsed(path, lambda: parse_placement(read_document(path)))


def read_workload(path: Path) -> Workload:
    return read_lines(path, parse_workload)


def read_lines(path: Path, parse: Callable[[Iterator[str]], ParsedT]) -> ParsedT:
    """What `parse` makes of a text too large to keep, line by line, unpacked on the way."""
    return read_series([path], lambda texts: parse(next(texts)))


def read_series(paths: Sequence[Path], parse: Callable[[Iterator[Iterator[str]]], ParsedT]) -> ParsedT:
    """What `parse` makes of the lines of several files, each opened when its turn comes."""
    current = paths[0]

    def texts() -> Iterator[Iterator[str]]:
        nonlocal current
        for current in paths:
            yield _lines(current)

    try:
        return parse(texts())
    except AlpaServeError as error:
        raise type(error)(f"{current}: {error}") from None


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, unpacked if its name ends in .gz. Raises: InvalidArgument."""
    return "".join(_lines(path))


def _lines(path: Path) -> Iterator[str]:
    """Raises: InvalidArgument for what cannot be read."""
    try:
        with _opened(path) as lines:
            yield from lines
    except OSError as error:
        raise InvalidArgument(error.strerror or str(error)) from None
    except (EOFError, zlib.error) as error:
        raise InvalidArgument(f"not a whole gzip file: {error}") from None
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"not UTF-8 text: byte {error.object[error.start]:#04x}") from None


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def read_document(path: Path) -> object:
    """What a JSON or YAML file says. Raises: InvalidArgument, for repeated keys as well."""
    text = read_text(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            return yaml.load(text, Loader=_UniqueKeyLoader)
        return json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_refuse_number, parse_float=_finite_number
        )
    except yaml.YAMLError as error:
        raise InvalidArgument(f"not YAML: {' '.join(str(error).split())}") from None
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"not JSON: {error}") from None
    except (RecursionError, ValueError) as error:
        raise InvalidArgument(f"not readable: {error}") from None


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A UTF-8 file that is written anew, packed if its name ends in .gz. Raises: InvalidArgument."""
    try:
        with path.open("wb") as raw:
            if path.suffix == ".gz":
                # Without name and time in it the same text is the same file.
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed, io.TextIOWrapper(packed, "utf-8") as text:
                    yield text
            else:
                with io.TextIOWrapper(raw, "utf-8", newline="") as text:
                    yield text
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror or error}") from None


def _parsed(path: Path, read: Callable[[], ParsedT]) -> ParsedT:
    try:
        return read()
    except AlpaServeError as error:
        raise type(error)(f"{path}: {error}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidArgument(f"key {key!r} is repeated")
        found[key] = value
    return found


def _refuse_number(text: str) -> float:
    raise InvalidArgument(f"{text} is not a number of JSON")


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidArgument(f"{text} is too large a number")
    return number


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without repeated keys, and with `14e9` a number as in JSON."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise InvalidArgument(f"key {key!r} is repeated")
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
