"""What the planner decided by itself, in a stream of the last decisions, and what it remembers between them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from pydantic import TypeAdapter
from redis.asyncio import Redis

from services.core.placement import Placement
from services.infra.background import repeating
from services.infra.store import keys
from services.infra.store.connection import OUTAGES

log = structlog.get_logger()

MOST_KEPT = 500
_POLL_MS = 1_000


class Outcome(StrEnum):
    """What became of a decision."""

    KEPT = "kept"
    ADVISED = "advised"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """What a switch changes; bytes over all devices."""

    models_loaded: tuple[str, ...]
    models_dropped: tuple[str, ...]
    num_loads: int
    load_bytes: int
    groups_formed: int
    groups_dissolved: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """Attainment over the horizon: of what runs, of a switch that is paid for, and what of it the switch costs."""

    stay: float
    switch: float
    cost: float
    margin: float | None
    standard_error: float

    @property
    def gain(self) -> float:
        return self.switch - self.stay


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision, taken or not; what it did not come to is None or empty. `candidate` is on global device ids, rates
    are those of models that are not silent, `num_idle_looks` gave no reason to decide before it did."""

    at_s: float
    controller: str
    mode: str
    verdict: str
    reason: str
    outcome: Outcome
    base_version: int
    observed_per_s: dict[str, float]
    expected_per_s: dict[str, float]
    num_idle_looks: int
    decision_s: float
    predicted: Predicted | None = None
    move: MoveRecord | None = None
    candidate: Placement | None = None
    num_simulations: int = 0
    applied_version: int = 0
    predicted_s: float | None = None
    transition_s: float | None = None
    error: str = ""


_record = TypeAdapter(DecisionRecord)
_DOCUMENT = b"decision"
Entry = tuple[bytes, DecisionRecord]


class DecisionStore:
    """The newest decisions, and one document of what is remembered between them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, record: DecisionRecord) -> None:
        """Keep a decision; the oldest ones go."""
        document: Any = {_DOCUMENT: _record.dump_json(record)}
        await self._redis.xadd(keys.DECISIONS, document, maxlen=MOST_KEPT, approximate=False)

    async def newest(self, limit: int) -> list[DecisionRecord]:
        """At most so many, the newest first."""
        return [record for _, record in await self._newest(limit)]

    async def watch(self, limit: int) -> AsyncIterator[DecisionRecord]:
        """The newest ones, oldest first, then every further one; outlives an outage of Redis."""
        seen: bytes | None = None
        async for _ in repeating(_POLL_MS / 1000):
            try:
                if seen is None:
                    newest = await self._newest(max(limit, 1))
                    seen = newest[0][0] if newest else b"0"
                    for _, record in reversed(newest[:limit]):
                        yield record
                while True:
                    for entry, record in await self._after(seen):
                        seen = entry
                        yield record
            except OUTAGES as error:
                log.warning("decision_feed_lost", error=str(error))

    async def _newest(self, limit: int) -> list[Entry]:
        found: Any = await self._redis.xrevrange(keys.DECISIONS, count=limit) if limit else []
        return [(entry, _record.validate_json(fields[_DOCUMENT])) for entry, fields in found]

    async def _after(self, seen: bytes) -> list[Entry]:
        """Those that came later; waits a while for one."""
        found: Any = await self._redis.xread({keys.DECISIONS: seen}, block=_POLL_MS)
        return [
            (entry, _record.validate_json(fields[_DOCUMENT])) for _, later in found or () for entry, fields in later
        ]

    async def memory(self) -> bytes | None:
        document: Any = await self._redis.get(keys.REPLACEMENT_MEMORY)
        return None if document is None else bytes(document)

    async def remember(self, document: bytes) -> None:
        await self._redis.set(keys.REPLACEMENT_MEMORY, document)
