"""Strings of bytes as they travel: each after its length in four bytes, little-endian."""

import struct
from collections.abc import Iterable

_LENGTH = struct.Struct("<I")


def pack_strings(strings: Iterable[bytes]) -> bytes:
    parts: list[bytes] = []
    for string in strings:
        parts += (_LENGTH.pack(len(string)), string)
    return b"".join(parts)


def unpack_strings(data: bytes, num_strings: int) -> list[bytes]:
    """Raises: ValueError if the data ends within a string or its length, or is not of so many strings."""
    if len(data) < num_strings * _LENGTH.size:
        raise ValueError(f"{num_strings} strings take {num_strings * _LENGTH.size} bytes at least, got {len(data)}")
    strings: list[bytes] = []
    begin = 0
    for number in range(num_strings):
        first = begin + _LENGTH.size
        length = _LENGTH.unpack_from(data, begin)[0] if first <= len(data) else 0
        if first + length > len(data):
            raise ValueError(f"{len(data)} bytes of strings end within string {number}")
        begin = first + length
        strings.append(data[first:begin])
    if begin < len(data):
        raise ValueError(f"{num_strings} strings take {begin} bytes, got {len(data)}")
    return strings
