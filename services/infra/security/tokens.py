"""Who a caller is, by the token that it shows. The file holds SHA-256 digests, never a token, and is read again
whenever it changes."""

import hashlib
import hmac
import os
from base64 import b64decode
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Annotated, Literal, Protocol

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.core.errors import InvalidArgument, PermissionDenied, Unauthenticated

log = structlog.get_logger()

LOOK_EVERY_S = 1.0


class Scope(StrEnum):
    """What a token is good for. None contains another; `serve` is for routers, which leaders take requests from."""

    INFER = "infer"
    SERVE = "serve"
    PLAN = "plan"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token it is."""

    name: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raises: PermissionDenied, naming what is needed and what is there."""
        if scope not in self.scopes:
            raise PermissionDenied(f"needs scope {scope}; token {self.name!r} has {', '.join(sorted(self.scopes))}")


class Gatekeeper(Protocol):
    """Knows callers by a header `Bearer TOKEN`, or `Basic` with the token as the password."""

    def caller(self, authorization: str | None) -> Caller:
        """Raises: Unauthenticated; what the caller sent is not repeated."""


class OneToken:
    """A token for one purpose, which only this system's own processes hear of."""

    def __init__(self, token: str, *scopes: Scope) -> None:
        self._digest = digest_of(token.encode())
        self._caller = Caller("own", frozenset(scopes))

    def caller(self, authorization: str | None) -> Caller:
        if not hmac.compare_digest(self._digest, digest_of(token_of(authorization))):
            raise Unauthenticated("unknown token")
        return self._caller


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class TokenRow(_Strict):
    """One token. `sha256` is 64 hexadecimal digits."""

    name: str = Field(min_length=1)
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]


class TokensDocument(_Strict):
    """A tokens file."""

    format: Literal["alpaserve.tokens/v1"] = Field(alias="schema")
    tokens: tuple[TokenRow, ...]


class Tokens:
    """The tokens of a file. One that has become unreadable changes nothing; the log says so."""

    def __init__(self, path: Path) -> None:
        """Raises: InvalidArgument, which repeats no value of the file."""
        self._path = path
        self._stamp = _stamp(path)
        self._looked_s = monotonic()
        self._callers = read_tokens(path)

    def caller(self, authorization: str | None) -> Caller:
        self._look()
        digest, found = digest_of(token_of(authorization)), None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise Unauthenticated("unknown token")
        return found

    def _look(self) -> None:
        now_s = monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._callers = read_tokens(self._path)
                self._stamp = stamp
                log.info("tokens_read", path=str(self._path), names=[caller.name for _, caller in self._callers])
        except InvalidArgument as error:
            log.warning("tokens_not_read", error=str(error))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116  # on the request's path, and twice as fast
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from None
    return found.st_ino, found.st_mtime_ns, found.st_size


def digest_of(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def token_of(authorization: str | None) -> bytes:
    """Raises: Unauthenticated."""
    if not authorization:
        raise Unauthenticated("no token: send authorization: Bearer TOKEN")
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip().encode()
    if scheme.lower() == "basic":
        try:
            return b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            raise Unauthenticated("authorization: Basic is not base64") from None
    raise Unauthenticated("authorization must be Bearer TOKEN")


def read_tokens(path: Path) -> tuple[tuple[bytes, Caller], ...]:
    """Digests and whose they are. Raises: InvalidArgument, which repeats no value of the file."""
    try:
        rows = TokensDocument.model_validate(yaml.safe_load(path.read_text())).tokens
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InvalidArgument(f"{path} is no YAML") from None
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "document"
        raise InvalidArgument(f"{path}: {where}: {problem['msg']}") from None
    if len({row.name for row in rows}) < len(rows):
        raise InvalidArgument(f"{path}: names must differ")
    return tuple((bytes.fromhex(row.sha256), Caller(row.name, row.scopes)) for row in rows)
