"""Queue state of every group: published by its leader, read by any number of routers."""

from collections.abc import AsyncIterator, Iterable
from time import monotonic

import structlog
from alpaserve.v1 import leader_pb2
from redis.asyncio import Redis

from services.infra.background import repeating
from services.infra.store import keys
from services.infra.store.connection import OUTAGES, subscription

log = structlog.get_logger()

# A leader tells of what happened in so much time at once.
PUBLISH_EVERY_S = 0.01
EXPIRY_MS = 3_000
SILENCE_S = 5.0


class QueueStore:
    """Queue states, with expiry: a group without one is silent."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish(self, states: Iterable[leader_pb2.QueueState]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for state in states:
                message = state.SerializeToString()
                pipe.set(keys.queue_state(state.group), message, px=EXPIRY_MS)
                pipe.publish(keys.QUEUE_FEED, message)
            await pipe.execute()

    async def get(self, groups: list[str]) -> dict[str, leader_pb2.QueueState]:
        """The states of those groups that are not silent."""
        messages = await self._redis.mget([keys.queue_state(group) for group in groups]) if groups else []
        states = [leader_pb2.QueueState.FromString(message) for message in messages if isinstance(message, bytes)]
        return {state.group: state for state in states}

    async def watch(self) -> AsyncIterator[leader_pb2.QueueState]:
        """Every state as it is published; outlives an outage of Redis. Leaders publish even when idle, so a
        feed that is silent is opened again: its connection may be lost without a sign."""
        async for _ in repeating(0.5):
            try:
                async with subscription(self._redis, keys.QUEUE_FEED) as feed:
                    heard_s = monotonic()
                    while monotonic() - heard_s < SILENCE_S:
                        message = await feed.get_message(timeout=1.0)
                        if message is not None:
                            heard_s = monotonic()
                            yield leader_pb2.QueueState.FromString(message["data"])
            except OUTAGES as error:
                log.warning("queue_feed_lost", error=str(error))
