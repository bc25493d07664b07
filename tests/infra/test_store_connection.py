"""Redis behind TLS and a password: who reaches it, and by which settings."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from alpaserve_cli.authority import Authority
from alpaserve_cli.security_files import SecurityFiles
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from services.infra.security.tls import TlsFiles
from services.infra.settings import ServiceSettings
from services.infra.store.connection import connect


@pytest.fixture
def files(tmp_path: Path) -> SecurityFiles:
    files = SecurityFiles(tmp_path / "security")
    files.make(Authority(1.0))
    return files


@pytest.fixture
async def port(files: SecurityFiles, redis_url: str) -> AsyncIterator[int]:
    """Of a door to the session's Redis that speaks TLS, and asks for a certificate: the server that tests bring along
    was built without."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", urlsplit(redis_url).port)
        with suppress(OSError):
            await asyncio.gather(pump(reader, back), pump(there, writer))

    context = TlsFiles(files.directory / "server.pem", files.directory / "server-key.pem", files.ca).server_context()
    server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    writer.close()


def settings(files: SecurityFiles, port: int, password: str, **values: Any) -> ServiceSettings:
    secret = files.directory / "redis.password"
    secret.write_text(f"{password}\n")
    return ServiceSettings.model_validate(
        {
            "redis_url": f"rediss://127.0.0.1:{port}/0",
            "redis_password_file": secret,
            "redis_ca": files.ca,
            "redis_certificate": files.directory / "client.pem",
            "redis_key": files.directory / "client-key.pem",
            **values,
        }
    )


async def answers(given: ServiceSettings) -> bool:
    redis = connect(given.store)
    try:
        return bool(await redis.ping())
    finally:
        await redis.aclose()


async def test_redis_is_reached_by_tls_and_a_password_of_a_file(
    files: SecurityFiles, port: int, redis_url: str
) -> None:
    assert await answers(settings(files, port, str(urlsplit(redis_url).password)))


async def test_a_wrong_password_is_refused_and_not_repeated(files: SecurityFiles, port: int) -> None:
    with pytest.raises(AuthenticationError) as refused:
        await answers(settings(files, port, "a-wrong-one"))

    assert "a-wrong-one" not in str(refused.value)


@pytest.mark.parametrize("values", [{"redis_ca": None}, {"redis_certificate": None, "redis_key": None}])
async def test_without_the_ca_or_a_certificate_there_is_no_connection(
    files: SecurityFiles, port: int, redis_url: str, values: dict[str, None]
) -> None:
    with pytest.raises((RedisConnectionError, OSError)):
        await answers(settings(files, port, str(urlsplit(redis_url).password), **values))


async def test_redis_itself_takes_nobody_without_a_password(redis_url: str) -> None:
    redis = connect(f"redis://127.0.0.1:{urlsplit(redis_url).port}/0")
    with pytest.raises(AuthenticationError):
        await redis.ping()
    await redis.aclose()
