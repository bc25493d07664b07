"""Arrivals per model in buckets of a second, on Redis's own clock."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from services.infra.store import keys

KEPT_S = 3_600

_RECORD = """
local bucket = KEYS[1] .. redis.call('TIME')[1]
for i = 1, #ARGV, 2 do redis.call('HINCRBY', bucket, ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', bucket, KEYS[2])
return 0
"""


class ArrivalStore:
    """What the routers saw arrive."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._record = redis.register_script(_RECORD)

    async def record(self, counts: Mapping[str, int]) -> None:
        """Count arrivals of this second."""
        if counts:
            flat = [item for pair in counts.items() for item in pair]
            await self._record(keys=[keys.ARRIVALS, str(KEPT_S)], args=flat)

    async def window(self, num_seconds: int) -> dict[str, NDArray[np.int64]]:
        """Counts (num_seconds,) per model over the last full seconds, oldest first."""
        now_s, _ = await self._redis.time()
        async with self._redis.pipeline(transaction=False) as pipe:
            for bucket in range(now_s - num_seconds, now_s):
                pipe.hgetall(keys.arrivals(bucket))
            buckets = await pipe.execute()
        counts: dict[str, NDArray[np.int64]] = {}
        for second, bucket in enumerate(buckets):
            for name, count in bucket.items():
                row = counts.setdefault(name.decode(), np.zeros(num_seconds, dtype=np.int64))
                row[second] = int(count)
        return counts
