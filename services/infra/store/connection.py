"""The connection to Redis, and the answer to its absence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

# A server that is full, read-only or forbids it serves as little as one that is away.
STORE_ERRORS = (RedisConnectionError, RedisTimeoutError, ResponseError)
OUTAGES = (*STORE_ERRORS, OSError)


def connect(url: str) -> Redis:
    """A client that answers within seconds whether Redis does or not."""
    return Redis.from_url(
        url,
        socket_connect_timeout=2.0,
        socket_timeout=5.0,
        health_check_interval=10,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 3),
    )


@asynccontextmanager
async def subscription(redis: Redis, channel: str) -> AsyncIterator[PubSub]:
    """A subscription to one channel, given back at the end."""
    async with redis.pubsub(ignore_subscribe_messages=True) as feed:
        await feed.subscribe(channel)
        yield feed
