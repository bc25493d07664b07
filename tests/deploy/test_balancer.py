"""The balancer's health check, sent byte by byte to a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.infra.server import Server
from services.infra.settings import ServiceSettings

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "balancer" / "haproxy.cfg"


def rules(keyword: str) -> list[str]:
    """What follows `keyword`, line by line."""
    return [line.strip().removeprefix(keyword) for line in CONFIG.read_text().splitlines() if keyword in line]


def question() -> bytes:
    (preface,) = rules("tcp-check send ")
    frames = "".join(rules("tcp-check send-binary "))
    return preface.replace("\\ ", " ").encode().decode("unicode_escape").encode() + bytes.fromhex(frames)


def expected() -> bytes:
    (answer,) = rules("tcp-check expect min-recv 1 binary ")
    return bytes.fromhex(answer)


async def asked(server: Server) -> bytes:
    """The answer, through the status that ends its message."""
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(question())
    try:
        async with asyncio.timeout(10):
            return await reader.readuntil(expected()[:-1]) + await reader.readexactly(1)
    finally:
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server(ServiceSettings.model_validate({"redis_url": "redis://127.0.0.1:1/0"}))
    await found.start()
    yield found
    await found.stop()


async def test_the_check_finds_what_it_expects_of_a_server_that_serves(server: Server) -> None:
    assert (await asked(server)).endswith(expected())


async def test_the_check_finds_something_else_of_a_server_that_drains(server: Server) -> None:
    await server.drain()
    assert not (await asked(server)).endswith(expected())
