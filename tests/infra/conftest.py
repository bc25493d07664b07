"""A Redis of every test's own database."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.infra.store.connection import connect


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """An empty store."""
    client = connect(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()
