"""Who is alive: workers with their devices, routers with the placement version they serve, and the planner."""

from contextlib import suppress
from dataclasses import dataclass

from pydantic import TypeAdapter
from redis.asyncio import Redis

from services.infra.store import keys
from services.infra.store.connection import OUTAGES

HEARTBEAT_S = 1.0
EXPIRY_MS = 3_000

# Global device ids are given once per worker name and size.
_ASSIGN_DEVICES = """
local field = ARGV[1] .. ':' .. ARGV[2]
local base = redis.call('HGET', KEYS[1], field)
if base then return tonumber(base) end
base = redis.call('INCRBY', KEYS[2], ARGV[2]) - tonumber(ARGV[2])
redis.call('HSET', KEYS[1], field, base)
return base
"""


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as it announces itself. Its devices are first_device … first_device + num_devices - 1."""

    name: str
    address: str
    executor: str
    first_device: int
    num_devices: int
    memory_bytes: int

    @property
    def devices(self) -> range:
        return range(self.first_device, self.first_device + self.num_devices)


_worker = TypeAdapter(WorkerRecord)


class MemberStore:
    """Heartbeats with expiry."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._assign = redis.register_script(_ASSIGN_DEVICES)

    async def assign_devices(self, worker: str, num_devices: int) -> int:
        """The global id of the worker's first device."""
        return int(await self._assign(keys=[keys.DEVICE_BASES, keys.DEVICE_COUNTER], args=[worker, num_devices]))

    async def announce_worker(self, worker: WorkerRecord) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(keys.WORKERS, worker.name)
            pipe.set(keys.worker(worker.name), _worker.dump_json(worker), px=EXPIRY_MS)
            await pipe.execute()

    async def withdraw_worker(self, name: str) -> None:
        await self._withdraw(keys.worker(name))

    async def workers(self) -> list[WorkerRecord]:
        """Those alive, by first device."""
        names = [str(name, "utf-8") for name in await self._redis.smembers(keys.WORKERS) if isinstance(name, bytes)]
        documents = await self._redis.mget([keys.worker(name) for name in names]) if names else []
        alive = [_worker.validate_json(document) for document in documents if document is not None]
        return sorted(alive, key=lambda worker: worker.first_device)

    async def announce_planner(self, address: str) -> None:
        await self._redis.set(keys.PLANNER, address, px=EXPIRY_MS)

    async def withdraw_planner(self) -> None:
        await self._withdraw(keys.PLANNER)

    async def planner(self) -> str | None:
        """Where the planner takes calls; None if none is alive."""
        address = await self._redis.get(keys.PLANNER)
        return address.decode() if isinstance(address, bytes) else None

    async def announce_router(self, name: str, version: int) -> None:
        await self._redis.set(keys.router(name), version, px=EXPIRY_MS)

    async def withdraw_router(self, name: str) -> None:
        await self._withdraw(keys.router(name))

    async def router_versions(self) -> dict[str, int]:
        """The placement version that each live router serves."""
        names = [name async for name in self._redis.scan_iter(match=keys.ROUTERS)]
        versions = await self._redis.mget(names) if names else []
        return {
            str(name, "utf-8").removeprefix(keys.router("")): int(version)
            for name, version in zip(names, versions, strict=True)
            if version is not None
        }

    async def _withdraw(self, key: str) -> None:
        """What cannot be withdrawn now expires."""
        with suppress(*OUTAGES):
            await self._redis.delete(key)
