"""Who the two ends of a connection are: TLS, and the token that a caller shows. A token never travels in the clear."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

Arguments = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files, PEM. The service's certificate must be signed by one of `ca`, by one that the system trusts if None;
    `certificate` and `key` are what this client shows, where the service asks for it."""

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises: OSError for a file that cannot be read."""
        ca, key, certificate = (
            None if path is None else Path(path).expanduser().read_bytes()
            for path in (self.ca, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)


def tls_of_environment(environment: Mapping[str, str] = os.environ) -> Tls | None:
    """From ALPASERVE_TLS_CA, ALPASERVE_TLS_CERTIFICATE and ALPASERVE_TLS_KEY; None if all are empty."""
    given = [environment.get(f"ALPASERVE_TLS_{name}") or None for name in ("CA", "CERTIFICATE", "KEY")]
    return Tls(*given) if any(given) else None


def token_of_environment(environment: Mapping[str, str] = os.environ) -> str:
    """ALPASERVE_TOKEN, else what the file ALPASERVE_TOKEN_FILE holds, else nothing.

    Raises: OSError for a file that cannot be read.
    """
    path = environment.get("ALPASERVE_TOKEN_FILE")
    return environment.get("ALPASERVE_TOKEN") or (Path(path).expanduser().read_text().strip() if path else "")


def check_token(token: str, tls: Tls | None) -> None:
    """Raises: ValueError, which does not tell the token."""
    if token and tls is None:
        raise ValueError("a token needs tls: it would travel in the clear")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("a token is of printable ASCII characters, without spaces")


def open_channel(address: str, arguments: Arguments, tls: Tls | None = None, token: str = "") -> grpc.Channel:
    """A synchronous channel; it connects with the first call.

    Raises: ValueError, OSError, for what `tls` or `token` is not.
    """
    check_token(token, tls)
    if tls is None:
        return grpc.insecure_channel(address, options=arguments)
    channel = grpc.secure_channel(address, tls.credentials(), options=arguments)
    return grpc.intercept_channel(channel, _bearer(token)) if token else channel


def open_async_channel(
    address: str, arguments: Arguments, tls: Tls | None = None, token: str | Callable[[], str] = ""
) -> aio.Channel:
    """The same for the running loop; a function is asked for the token of each call."""
    shown = token if callable(token) else lambda: token
    check_token(shown(), tls)
    if tls is None:
        return aio.insecure_channel(address, options=arguments)
    bearers = _async_bearers(shown) if token else None
    return aio.secure_channel(address, tls.credentials(), options=arguments, interceptors=bearers)


# As credentials of a call, the token would cost a turn of another thread each time.
_KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
_METHODS = ("intercept_unary_unary", "intercept_unary_stream", "intercept_stream_unary", "intercept_stream_stream")


def _with_token(details: Any, token: str) -> Any:
    if not token:
        return details
    shown = ("authorization", f"Bearer {token}")
    return details._replace(metadata=aio.Metadata(*(details.metadata or ()), shown))


def _bearer(token: str) -> Any:
    """An interceptor for all kinds of calls."""

    def intercept(_self: object, go_on: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        return go_on(_with_token(details, token), request)

    kinds = tuple(getattr(grpc, f"{kind}ClientInterceptor") for kind in _KINDS)
    return type("_Bearer", kinds, dict.fromkeys(_METHODS, intercept))()


def _async_bearers(token: Callable[[], str]) -> list[Any]:
    """The same for asyncio, which takes an interceptor for one kind of calls only."""

    async def intercept(_self: object, go_on: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        return await go_on(_with_token(details, token()), request)

    return [
        type("_AsyncBearer", (getattr(aio, f"{kind}ClientInterceptor"),), {method: intercept})()
        for kind, method in zip(_KINDS, _METHODS, strict=True)
    ]
