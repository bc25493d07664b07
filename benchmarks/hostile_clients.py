"""Callers that keep to HTTP/2 and to nothing else, on raw sockets: they connect and say no more, begin a message and
do not end it, or ask and take no answer."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.serving_load import INFER

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x6, 0x8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 0x4
FIRST_WINDOW, FRAME_BYTES = 65_535, 16_384
PATIENCE_S = 0.3


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header_block(address: str) -> bytes:
    """HPACK: literals that nobody indexes."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", INFER),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
    return b"".join(b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in fields)


class Caller:
    """One connection."""

    def __init__(self, address: str, window: int = FIRST_WINDOW) -> None:
        self._address = address
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._windows = {0: FIRST_WINDOW, 1: FIRST_WINDOW}
        self._read = b""
        self.is_closed = False
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))

    def call(self) -> None:
        """Send the headers of a call."""
        self._socket.sendall(frame(HEADERS, END_HEADERS, 1, header_block(self._address)))

    def send(self, content: bytes, *, ends: bool) -> int:
        """Send part of a message as far as the other side takes it; returns the bytes that went."""
        num_sent = 0
        while num_sent < len(content):
            room = min(FRAME_BYTES, len(content) - num_sent, *self._windows.values())
            if room <= 0:
                if not self.listen(PATIENCE_S):
                    break
                continue
            last = ends and num_sent + room == len(content)
            part = content[num_sent : num_sent + room]
            self._socket.sendall(frame(DATA, END_STREAM if last else 0, 1, part))
            num_sent += room
            for stream in self._windows:
                self._windows[stream] -= room
        return num_sent

    def listen(self, seconds: float) -> bool:
        """Take what comes next, answering what must be answered; false if nothing does."""
        self._socket.settimeout(seconds)
        try:
            came = self._socket.recv(65_536)
        except TimeoutError:
            return False
        except OSError:
            came = b""
        self.is_closed = self.is_closed or not came
        self._read += came
        while len(self._read) >= 9 and len(self._read) >= 9 + int.from_bytes(self._read[:3]):
            length, (kind, flags, stream) = int.from_bytes(self._read[:3]), struct.unpack(">BBI", self._read[3:9])
            payload, self._read = self._read[9 : 9 + length], self._read[9 + length :]
            self._answer(kind, flags, stream, payload)
        return bool(came)

    def _answer(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == INITIAL_WINDOW_SIZE:
                    self._windows[1] += value - FIRST_WINDOW
            self._socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._socket.sendall(frame(PING, ACK, 0, payload))

    def close(self) -> None:
        self._socket.close()


@contextmanager
def idle(address: str, number: int) -> Iterator[Sequence[Caller]]:
    """Connections without a call."""
    callers: list[Caller] = []
    try:
        for _ in range(number):
            callers.append(Caller(address))
        for caller in callers:
            caller.listen(PATIENCE_S)
        yield callers
    finally:
        for caller in callers:
            caller.close()


@contextmanager
def stalled_senders(address: str, number: int, num_bytes: int) -> Iterator[Sequence[Caller]]:
    """Each announces a message of twice `num_bytes`, and sends half of it."""
    with idle(address, number) as callers:
        for caller in callers:
            caller.call()
            caller.send(struct.pack(">BI", 0, 2 * num_bytes) + bytes(num_bytes), ends=False)
        yield callers


@contextmanager
def stalled_readers(address: str, number: int, message: bytes) -> Iterator[Sequence[Caller]]:
    """Each asks, and has no room for the answer."""
    callers: list[Caller] = []
    try:
        for _ in range(number):
            callers.append(caller := Caller(address, window=0))
            caller.call()
            caller.send(struct.pack(">BI", 0, len(message)) + message, ends=True)
        yield callers
    finally:
        for caller in callers:
            caller.close()
