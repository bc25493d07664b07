"""How the clients connect: keepalive, message size, and when a call is tried again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import grpc
import tenacity
from grpc import aio

from alpaserve_client.errors import Unavailable
from alpaserve_client.security import (
    Tls,
    check_token,
    open_async_channel,
    open_channel,
    tls_of_environment,
    token_of_environment,
)

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
# How gRPC tells of a call that was never sent.
_NOT_CONNECTED = "failed to connect"
# A service that comes back is found within so much time.
_RECONNECT_MS = 1_000


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Settings of one connection.

    `timeout_s` holds for calls that bring none; `num_retries` is how often a call that nobody
    could take is sent again within its timeout; `tls` switches TLS on, and `token` is shown with every call.
    """

    timeout_s: float = 60.0
    num_retries: int = 4
    keepalive_s: float = 20.0
    max_message_bytes: int = 64 * 2**20
    tls: Tls | None = None
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not (self.timeout_s > 0 and self.keepalive_s > 0):
            raise ValueError(f"timeout_s and keepalive_s must be positive, got {self.timeout_s} and {self.keepalive_s}")
        if self.num_retries < 0:
            raise ValueError(f"num_retries must not be negative, got {self.num_retries}")
        check_token(self.token, self.tls)

    @classmethod
    def from_environment(cls) -> Self:
        """TLS and token as ALPASERVE_TLS_CA, ALPASERVE_TLS_CERTIFICATE, ALPASERVE_TLS_KEY, and ALPASERVE_TOKEN or
        ALPASERVE_TOKEN_FILE say.

        Raises: ValueError, OSError, for what they say and is not so.
        """
        return cls(tls=tls_of_environment(), token=token_of_environment())


def connect(address: str, options: ConnectionOptions) -> grpc.Channel:
    """A synchronous channel; it connects with the first call."""
    return open_channel(address, channel_arguments(options), options.tls, options.token)


class Connection:
    """A synchronous client's channel, from its making to its end."""

    def __init__(self, address: str, options: ConnectionOptions | None = None) -> None:
        self._options = options or ConnectionOptions()
        self._channel = connect(address, self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def wait_for_connection(self, timeout_s: float) -> None:
        """Connect now rather than with the first call. Raises: Unavailable if nobody is there in time."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout_s)
        except grpc.FutureTimeoutError:
            raise not_connected(timeout_s) from None

    def close(self) -> None:
        """End the connection and the calls under way."""
        self._channel.close()


def connect_async(address: str, options: ConnectionOptions, arguments: Sequence[tuple[str, int]] = ()) -> aio.Channel:
    """An asyncio channel of the running loop, with further channel `arguments`; it connects with the first call."""
    return open_async_channel(address, [*channel_arguments(options), *arguments], options.tls, options.token)


def not_connected(timeout_s: float) -> Unavailable:
    return Unavailable(f"no connection within {timeout_s:g} s", code=grpc.StatusCode.UNAVAILABLE)


def channel_arguments(options: ConnectionOptions) -> list[tuple[str, int]]:
    return [
        ("grpc.keepalive_time_ms", round(options.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(options.keepalive_s * 500)),
        ("grpc.http2.ping_timeout_ms", round(options.keepalive_s * 500)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
    ]


def retrying(num_retries: int, timeout_s: float) -> tenacity.Retrying:
    """Calls a function again while it is not under way anywhere, ending before the timeout."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_repeat),
        stop=_stop(num_retries, timeout_s),
        wait=_pause,
        reraise=True,
    )


def async_retrying(num_retries: int, timeout_s: float) -> tenacity.AsyncRetrying:
    """The same for coroutine functions."""
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_may_repeat),
        stop=_stop(num_retries, timeout_s),
        wait=_pause,
        reraise=True,
    )


def _may_repeat(error: BaseException) -> bool:
    """Whether nobody runs the call, or it may run twice: a router says so, and a call that never got to one does not
    run. One whose connection broke may."""
    return isinstance(error, Unavailable) and (bool(error.reason) or error.message.startswith(_NOT_CONNECTED))


def _stop(num_retries: int, timeout_s: float) -> tenacity.stop.stop_any:
    return tenacity.stop_any(tenacity.stop_after_attempt(num_retries + 1), tenacity.stop_before_delay(timeout_s))


_lengthening = tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S)


def _pause(state: tenacity.RetryCallState) -> float:
    """Longer from try to try, and no shorter than the service asked for."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after_s if isinstance(error, Unavailable) else None
    return max(_lengthening(state), asked or 0.0)
