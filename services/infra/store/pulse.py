"""Whether Redis answers this process, and how fast."""

from time import monotonic

from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis

from services.infra.background import repeating
from services.infra.store import keys
from services.infra.store.connection import OUTAGES

EVERY_S = 2.0

UP = Gauge("alpaserve_redis_up", "Whether Redis answered when last asked.")
ROUND_TRIP = Histogram(
    "alpaserve_redis_round_trip_seconds",
    "How long Redis took to answer.",
    buckets=(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
)
VERSION = Gauge("alpaserve_store_placement_version", "The placement version that Redis holds, as this process sees it.")
ERRORS = Counter("alpaserve_redis_errors", "Questions that Redis did not answer, or refused.")


async def feel_pulse(redis: Redis, every_s: float = EVERY_S) -> None:
    """Ask Redis every now and then, for as long as this runs."""
    async for _ in repeating(every_s):
        began_s = monotonic()
        try:
            version = await redis.get(keys.CURRENT_VERSION)
        except OUTAGES:
            UP.set(0)
            ERRORS.inc()
        else:
            ROUND_TRIP.observe(monotonic() - began_s)
            UP.set(1)
            VERSION.set(int(version or 0))
