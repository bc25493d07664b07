"""Strings of bytes as they travel: each after its length in four bytes, little-endian."""

import struct
from collections.abc import Iterable

_LENGTH = struct.Struct("<I")


def pack_strings(strings: Iterable[bytes]) -> bytes:
    parts: list[bytes] = []
    for string in strings:
        parts += (_LENGTH.pack(len(string)), string)
    return b"".join(parts)


def unpack_strings(data: bytes) -> list[bytes]:
    """Raises: ValueError if the data ends within a string or its length."""
    strings: list[bytes] = []
    begin = 0
    while begin < len(data):
        first = begin + _LENGTH.size
        length = _LENGTH.unpack_from(data, begin)[0] if first <= len(data) else 0
        if first + length > len(data):
            raise ValueError(f"{len(data)} bytes of strings end within string {len(strings)}")
        begin = first + length
        strings.append(data[first:begin])
    return strings
