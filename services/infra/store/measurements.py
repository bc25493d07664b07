"""Measurements of an order as they are made, so that the same order goes on after an interruption.

An order's measurements are forgotten a day after its last one.
"""

import json
from dataclasses import asdict
from typing import Any

from redis.asyncio import Redis

from services.core.device import DeviceCosts
from services.core.profile import ParallelConfig, StageProfile
from services.core.profile_documents import parse_costs, parse_stage_profile, stage_profile_document
from services.infra.store import keys

EXPIRY_S = 24 * 3600
_COSTS = "costs"
_OVERHEAD = "overhead "
_STAGE = "stage "


class MeasurementStore:
    """What was measured, by the fingerprint of what it follows from."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def costs(self, fingerprint: str) -> DeviceCosts | None:
        """The device costs that the order goes by, if it ever began."""
        document = await self._redis.hget(keys.measurements(fingerprint), _COSTS)
        return None if document is None else parse_costs(json.loads(document))

    async def put_costs(self, fingerprint: str, costs: DeviceCosts) -> None:
        await self._put(fingerprint, _COSTS, asdict(costs))

    async def overheads_s(self, fingerprint: str) -> list[float]:
        """What requests took outside the stages, under every config so far."""
        return [json.loads(value) for value in await self._values(fingerprint, _OVERHEAD)]

    async def put_overhead(self, fingerprint: str, config: ParallelConfig, seconds: float) -> None:
        await self._put(fingerprint, f"{_OVERHEAD}{config}", seconds)

    async def all(self, fingerprint: str) -> dict[tuple[ParallelConfig, int], StageProfile]:
        stages = [parse_stage_profile(json.loads(document)) for document in await self._values(fingerprint, _STAGE)]
        return {(stage.config, stage.batch_size): stage for stage in stages}

    async def put(self, fingerprint: str, stage: StageProfile) -> None:
        await self._put(fingerprint, f"{_STAGE}{stage.config} {stage.batch_size}", stage_profile_document(stage))

    async def forget(self, fingerprint: str) -> None:
        await self._redis.delete(keys.measurements(fingerprint))

    async def _values(self, fingerprint: str, prefix: str) -> list[bytes | str]:
        stored = await self._redis.hgetall(keys.measurements(fingerprint))
        return [value for key, value in stored.items() if isinstance(key, bytes) and key.startswith(prefix.encode())]

    async def _put(self, fingerprint: str, field: str, document: dict[str, Any] | float) -> None:
        key = keys.measurements(fingerprint)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, field, json.dumps(document, allow_nan=False))
            pipeline.expire(key, EXPIRY_S)
            await pipeline.execute()
