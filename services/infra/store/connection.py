"""The connection to Redis, and the answer to its absence."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.infra.background import repeating
from services.infra.store import keys

log = structlog.get_logger()
FoundT = TypeVar("FoundT")

REACH_EVERY_S, REACH_WITHIN_S = 0.5, 30.0
# A server that is full, read-only or forbids it serves as little as one that is away.
STORE_ERRORS = (RedisConnectionError, RedisTimeoutError, ResponseError)
OUTAGES = (*STORE_ERRORS, OSError)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A Redis by its URL; what that says of a password holds. `files` are redis-py's `ssl_…` options."""

    url: str = field(repr=False)
    password: str = field(default="", repr=False)
    files: Mapping[str, Any] = field(default_factory=dict)


def connect(address: StoreAddress | str) -> Redis:
    """A client that answers within seconds whether Redis does or not."""
    if isinstance(address, str):
        address = StoreAddress(address)
    return Redis.from_url(
        address.url,
        password=address.password or None,
        **address.files,
        socket_connect_timeout=2.0,
        socket_timeout=5.0,
        health_check_interval=10,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 3),
    )


async def reached(redis: Redis, within_s: float = REACH_WITHIN_S) -> None:
    """Wait until Redis answers: a service that starts during an outage serves once it is over.

    Raises: what Redis raises if it refuses this service, or the outage lasts for `within_s`.
    """
    give_up_s = monotonic() + within_s
    async for _ in repeating(REACH_EVERY_S):
        try:
            await redis.exists(keys.CURRENT_VERSION)
            return
        except AuthenticationError:
            raise
        except OUTAGES as error:
            if monotonic() > give_up_s:
                raise
            log.warning("store_awaited", error=str(error))


@asynccontextmanager
async def subscription(redis: Redis, channel: str) -> AsyncIterator[PubSub]:
    """A subscription to one channel, given back at the end."""
    async with redis.pubsub(ignore_subscribe_messages=True) as feed:
        await feed.subscribe(channel)
        yield feed


async def followed(
    redis: Redis, channel: str, read: Callable[[], Awaitable[FoundT]], mark: Callable[[FoundT], object], poll_s: float
) -> AsyncIterator[FoundT]:
    """What `read` finds now, and whenever its mark is another one; polls as well as it listens to the channel, and
    outlives an outage of Redis."""
    seen: tuple[object, ...] = ()
    async for _ in repeating(poll_s):
        try:
            async with subscription(redis, channel) as feed:
                while True:
                    found = await read()
                    if seen != (mark(found),):
                        seen = (mark(found),)
                        yield found
                    await feed.get_message(timeout=poll_s)
        except OUTAGES as error:
            log.warning("feed_lost", channel=channel, error=str(error))
