"""A network between two addresses of this machine that can be cut: TCP connections pass through it, port by port."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Self

from services.infra.background import cancelled

CHUNK_BYTES = 64 * 1024


class Relay:
    """Whatever connects to a port of `front` that was opened gets to the same port of `back`."""

    def __init__(self, front: str = "127.0.0.2", back: str = "127.0.0.1") -> None:
        self._front = front
        self._back = back
        self._ports: dict[int, asyncio.Server | None] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reset()
        await cancelled(list(self._connections))

    async def open(self, port: int) -> None:
        """Let connections to a port through; one that is open already stays as it is."""
        if port not in self._ports:
            self._ports[port] = await asyncio.start_server(self._connected, self._front, port)

    def swallow(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._passing.clear()

    async def reset(self) -> None:
        """Break every connection, and refuse new ones."""
        for writer in self._writers:
            # Closed with a reset, not with a goodbye.
            peer: socket.socket = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        for port, server in self._ports.items():
            if server is not None:
                server.close()
                self._ports[port] = None

    async def heal(self) -> None:
        """Let everything through again, also what was under way when it was swallowed."""
        self._passing.set()
        for port, server in self._ports.items():
            if server is None:
                self._ports[port] = await asyncio.start_server(self._connected, self._front, port)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._pass_on(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        with suppress(OSError):
            await self._passing.wait()
            there, back = await asyncio.open_connection(self._back, port)
            self._writers |= {writer, back}
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()
            self._writers.discard(writer)
