"""Placement versions, their history and change feed, and the lease of who changes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog
from pydantic import TypeAdapter
from redis.asyncio import Redis
from redis.exceptions import LockError

from services.core.deployment import Deployment
from services.core.errors import InvalidPlacement, VersionConflict
from services.infra.background import background, repeating
from services.infra.store import keys
from services.infra.store.connection import OUTAGES, followed

log = structlog.get_logger()
_deployment = TypeAdapter(Deployment)

# Publishes a deployment only if the version it was made for still runs.
_PUBLISH = """
if tonumber(redis.call('GET', KEYS[1]) or '0') ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('PUBLISH', KEYS[4], ARGV[2])
return 1
"""
# Two attempts to renew a lease fit into it, one after the other, however slow the store is.
LEASE_S, RENEW_S = 4.0, 1.0


class PlacementStore:
    """The running deployment and those before it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._publish = redis.register_script(_PUBLISH)

    async def current(self) -> Deployment:
        document = await self._redis.get(keys.CURRENT_DEPLOYMENT)
        return Deployment() if document is None else _deployment.validate_json(document)

    async def at(self, version: int) -> Deployment:
        """Raises: InvalidPlacement if there was no such version."""
        document = await self._redis.get(keys.deployment(version))
        if document is None:
            raise InvalidPlacement(f"there is no placement version {version}")
        return _deployment.validate_json(document)

    async def settled_before(self, version: int) -> Deployment:
        """The last version before this one that no transition left behind half-way.

        Raises: InvalidPlacement if there is none.
        """
        for older in range(version - 1, 0, -1):
            deployment = await self.at(older)
            if deployment.is_settled:
                return deployment
        raise InvalidPlacement(f"there is no placement before version {version}")

    async def publish(self, deployment: Deployment) -> Deployment:
        """Make the successor of `deployment.version` current, and tell the routers.

        Raises: VersionConflict if another version came in between.
        """
        successor = replace(deployment, version=deployment.version + 1)
        published = await self._publish(
            keys=[
                keys.CURRENT_VERSION,
                keys.CURRENT_DEPLOYMENT,
                keys.deployment(successor.version),
                keys.PLACEMENT_FEED,
            ],
            args=[deployment.version, successor.version, _deployment.dump_json(successor)],
        )
        if not published:
            raise VersionConflict(f"placement version {deployment.version} is no longer the running one")
        return successor

    def watch(self, poll_s: float = 1.0) -> AsyncIterator[Deployment]:
        """The current deployment, then every later one; polls as well, and outlives an outage of Redis."""
        return followed(self._redis, keys.PLACEMENT_FEED, self.current, lambda deployment: deployment.version, poll_s)

    async def new_group_name(self) -> str:
        return f"g{await self._redis.incr(keys.GROUP_COUNTER)}"

    async def is_leased(self) -> bool:
        """Whether somebody changes the placement right now."""
        return bool(await self._redis.exists(keys.TRANSITION_LEASE))

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        """Hold the right to change the placement. Raises: VersionConflict while somebody else does."""
        lock = self._redis.lock(keys.TRANSITION_LEASE, timeout=LEASE_S, blocking=False, thread_local=False)
        if not await lock.acquire():
            raise VersionConflict("another transition is under way")

        async def renew() -> None:
            async for _ in repeating(RENEW_S):
                try:
                    async with asyncio.timeout(RENEW_S):
                        await lock.reacquire()
                except LockError:
                    raise VersionConflict("the right to change the placement was lost") from None
                except OUTAGES as error:
                    log.warning("lease_not_renewed", error=str(error))

        try:
            async with background(renew()):
                yield
        finally:
            try:
                await lock.release()
            except (LockError, *OUTAGES) as error:
                log.warning("lease_not_released", error=str(error))
