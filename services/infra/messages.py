"""Protobuf messages over a TCP connection, each after its length: what routers and the leaders of groups speak.

A call over gRPC takes several times as much of the processor at both ends, and these two exchange every request.
"""

import asyncio
import struct
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import structlog
from google.protobuf.message import DecodeError, Message

log = structlog.get_logger()
ReceivedT = TypeVar("ReceivedT", bound=Message)

_LENGTH = struct.Struct(">I")
_BEAT = _LENGTH.pack(0)
BEAT_S, SILENT_BEATS = 1.0, 3
BUNDLE_BYTES = 64 * 1024
# What a router adds to a request on its way to a leader.
ENVELOPE_BYTES = 64 * 1024


class Messages(asyncio.Protocol, Generic[ReceivedT]):
    """One end of a connection, which hears messages of one `kind`. What the other end does not take yet waits here,
    and can be taken back.

    Both ends tell every second that they live; an end that hears nothing so many times in a row gives the connection
    up. Time in which this process itself stood still does not count.
    """

    patience: float = SILENT_BEATS

    def __init__(self, kind: type[ReceivedT], max_message_bytes: int) -> None:
        self._kind = kind
        self._max_message_bytes = max_message_bytes
        self._transport: Any = None
        self._begun = bytearray()
        self._waiting: dict[int, Any] = {}
        self._number = 0
        self._leaving: list[bytes] = []
        self._num_leaving = 0
        self._is_paused = False
        self._num_silent = 0
        self._beat: asyncio.TimerHandle | None = None
        self.is_lost = asyncio.Event()

    def allow(self, max_message_bytes: int) -> None:
        """Take messages of another size from now on: of strangers, one may not want large ones."""
        self._max_message_bytes = max_message_bytes

    def received(self, message: ReceivedT) -> None:
        """Take a message."""
        raise NotImplementedError

    def lost(self) -> None:
        """The connection has ended. What waits was never sent."""

    def send(self, message: Message) -> int:
        """Send, or put at the end of what waits: returns a number to withdraw it by, 0 if it was sent."""
        if not self._is_paused:
            self._write(message)
            return 0
        self._number += 1
        self._waiting[self._number] = message
        return self._number

    def withdraw(self, number: int) -> bool:
        """Take back what waits; false if it was sent."""
        return self._waiting.pop(number, None) is not None

    def waiting(self) -> Iterable[Any]:
        """What was not sent, first things first."""
        return self._waiting.values()

    def close(self) -> None:
        """End the connection once what was sent is on its way."""
        self._flush()
        self._transport.close()

    def abort(self, why: str) -> None:
        log.warning("connection_broken", why=why)
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._tell_life()

    def connection_lost(self, error: Exception | None) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self.is_lost.set()
        self.lost()

    def data_received(self, data: bytes) -> None:
        self._num_silent = 0
        known: bytes | bytearray = data
        if self._begun:
            self._begun += data
            known = self._begun
        begin, end = 0, len(known)
        while end - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(known, begin)
            if length > self._max_message_bytes:
                self.abort(f"a message of {length} bytes, allowed are {self._max_message_bytes}")
                return
            first = begin + _LENGTH.size
            if end - first < length:
                break
            begin = first + length
            if length:
                self._decode(bytes(known[first:begin]))
        if known is self._begun:
            del self._begun[:begin]
        else:
            self._begun += known[begin:]

    def _decode(self, content: bytes) -> None:
        try:
            message = self._kind.FromString(content)
        except DecodeError:
            self.abort(f"{len(content)} bytes that are no {self._kind.__name__}")
            return
        self.received(message)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        while self._waiting and not self._is_paused:
            self._write(self._waiting.pop(next(iter(self._waiting))))

    def _write(self, message: Message) -> None:
        if self.is_lost.is_set():
            return
        content = message.SerializeToString()
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._flush)
        self._leaving += (_LENGTH.pack(len(content)), content)
        self._num_leaving += len(content)
        if self._num_leaving > BUNDLE_BYTES:
            self._flush()

    def _flush(self) -> None:
        """One write for all messages of a pass of the loop: on a loopback a write costs more than a message."""
        leaving, self._leaving, self._num_leaving = self._leaving, [], 0
        if leaving and not self.is_lost.is_set():
            self._transport.writelines(leaving)

    def _tell_life(self) -> None:
        if self._num_silent >= self.patience:
            self.abort("the other end is silent")
            return
        self._num_silent += 1
        if not self._is_paused:
            self._transport.write(_BEAT)
        self._beat = asyncio.get_running_loop().call_later(BEAT_S, self._tell_life)
