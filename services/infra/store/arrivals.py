"""Arrivals per model on Redis's own clock: in buckets of a second, and their sums of five minutes for days."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from services.infra.store import keys

KEPT_S = 3_600
SUM_S = 300
SUMS_KEPT_S = 3 * 86_400

# So many buckets are fetched at once: whoever looks far back shares the loop with others.
_FETCHED = 300

_RECORD = """
local second = redis.call('TIME')[1]
local bucket = KEYS[1] .. second
local sums = KEYS[3] .. math.floor(second / ARGV[1]) * ARGV[1]
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', bucket, ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', sums, ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', bucket, KEYS[2])
redis.call('EXPIRE', sums, ARGV[2])
return 0
"""


class ArrivalStore:
    """What the routers saw arrive."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._record = redis.register_script(_RECORD)
        self._past = range(0)
        self._history: dict[str, NDArray[np.int64]] = {}

    async def record(self, counts: Mapping[str, int]) -> None:
        """Count arrivals of this second."""
        if counts:
            flat = [item for pair in counts.items() for item in pair]
            names = [keys.ARRIVALS, str(KEPT_S), keys.ARRIVAL_SUMS]
            await self._record(keys=names, args=[SUM_S, SUMS_KEPT_S, *flat])

    async def window(self, num_seconds: int) -> dict[str, NDArray[np.int64]]:
        """Counts (num_seconds,) per model over the last full seconds, oldest first."""
        now_s, _ = await self._redis.time()
        return await self._counts([keys.arrivals(second) for second in range(now_s - num_seconds, now_s)])

    async def history(self, span_s: int = SUMS_KEPT_S) -> dict[str, NDArray[np.int64]]:
        """Counts (num_buckets,) per model in the last full buckets of `SUM_S`, oldest first, from the first one on in
        which anything arrived: of the time before nothing is known."""
        now_s, _ = await self._redis.time()
        end_s = now_s // SUM_S * SUM_S
        past = range(end_s - span_s // SUM_S * SUM_S, end_s, SUM_S)
        if past != self._past:
            # A bucket that is over does not change any more.
            self._history = _from_first(await self._counts([keys.arrival_sums(begin_s) for begin_s in past]))
            self._past = past
        return self._history

    async def _counts(self, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        counts: dict[str, NDArray[np.int64]] = {}
        for first in range(0, len(names), _FETCHED):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names[first : first + _FETCHED]:
                    pipe.hgetall(name)
                buckets = await pipe.execute()
            for index, bucket in enumerate(buckets, first):
                for model, count in bucket.items():
                    row = counts.setdefault(model.decode(), np.zeros(len(names), dtype=np.int64))
                    row[index] = int(count)
        return counts


def _from_first(counts: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    begin = min((int(row.nonzero()[0][0]) for row in counts.values() if row.any()), default=0)
    return {model: row[begin:] for model, row in counts.items()}
