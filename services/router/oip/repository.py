"""The models of the system as a repository: which there are, which are ready, and the planner who places them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import grpc.aio
import structlog
from alpaserve.v1 import planner_pb2, planner_pb2_grpc
from alpaserve_client.security import open_async_channel
from redis.asyncio import Redis

from services.core.deployment import DeployedGroup
from services.core.errors import PlannerUnavailable
from services.core.signature import Signature
from services.infra.security.authorization import Metadata
from services.infra.security.settings import SecuritySettings
from services.infra.server import RECONNECT
from services.infra.store.connection import OUTAGES
from services.infra.store.members import MemberStore
from services.infra.store.registry import ModelStore
from services.infra.store.signatures import SignatureStore
from services.router.groups import Groups
from services.router.oip.batches import MAX_EXAMPLES

log = structlog.get_logger()

FOLLOW_WITHIN_S = 5.0


class Repository:
    """What a router knows of models, and the way to the planner."""

    def __init__(self, redis: Redis, groups: Groups, security: SecuritySettings, max_in_flight: int) -> None:
        self.signatures: Mapping[str, Signature] = {}
        self._models = ModelStore(redis)
        self._members = MemberStore(redis)
        self._known = SignatureStore(redis)
        self._groups = groups
        self._security = security
        self._max_examples = min(MAX_EXAMPLES, max_in_flight)
        self._channel: tuple[str, grpc.aio.Channel] | None = None

    async def refresh(self) -> None:
        """Take what leaders told of models by now; during an outage what is known stays."""
        try:
            self.signatures = await self._known.all()
        except OUTAGES as error:
            log.warning("signatures_not_read", error=str(error))

    async def names(self) -> list[str]:
        """Of all registered models."""
        return list(await self._models.all())

    def is_known(self, model: str) -> bool:
        """Whether the placement tells of a model."""
        return model in self._groups.view.deployment.models

    async def check(self, model: str) -> None:
        """Raises: UnknownModel. What a placement tells of is known also without the store."""
        if not self.is_known(model):
            await self._models.get(model)

    def holders(self, model: str) -> list[DeployedGroup]:
        """The groups that hold a model."""
        return [group for group in self._groups.view.deployment.groups if model in group.replicas]

    def slo_s(self, model: str) -> float | None:
        known = self._groups.view.deployment.models.get(model)
        return None if known is None else known.slo_s

    def max_examples(self, model: str) -> int:
        """How many examples a request may bring: one, where what may not run twice could not be asked again."""
        known = self._groups.view.deployment.models.get(model)
        return 1 if known is not None and not known.idempotent else self._max_examples

    def unready(self, model: str) -> str:
        """Why a model cannot be asked now; empty if it can."""
        holders = self.holders(model)
        if holders and {group.name for group in holders} <= self._groups.unreachable():
            return "no group that holds it can be reached"
        if not holders and model in self._groups.view.deployment.returning_s:
            return "a transition has left it without a group for a while"
        return "" if holders else "placed nowhere"

    def is_ready(self) -> bool:
        """Whether any group can be reached, if there should be one."""
        groups = self._groups.view.groups
        return not groups or not groups.keys() <= self._groups.unreachable()

    async def load(self, model: str, timeout_s: float, shown: Metadata) -> None:
        """Have a model placed, in the name of who asked, and wait until this router serves it.

        Raises: PlannerUnavailable, AioRpcError.
        """
        request = planner_pb2.PlaceModelRequest(model=model)
        await self._follow(await (await self._planner()).PlaceModel(request, timeout=timeout_s, metadata=shown))

    async def unload(self, model: str, timeout_s: float, shown: Metadata) -> None:
        """Have a model taken off every group, in the name of who asked. Raises: PlannerUnavailable, AioRpcError."""
        request = planner_pb2.WithdrawModelRequest(model=model)
        await self._follow(await (await self._planner()).WithdrawModel(request, timeout=timeout_s, metadata=shown))

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel[1].close(None)

    async def _planner(self) -> "planner_pb2_grpc.PlannerAsyncStub":
        address = await self._members.planner()
        if address is None:
            raise PlannerUnavailable("no planner is alive")
        if self._channel is None or self._channel[0] != address:
            await self.close()
            self._channel = address, open_async_channel(address, RECONNECT, self._security.calling_tls)
        return planner_pb2_grpc.PlannerStub(self._channel[1])

    async def _follow(self, response: planner_pb2.PlaceModelResponse | planner_pb2.WithdrawModelResponse) -> None:
        """Until this router serves the placement; one that is behind finds out from the groups themselves."""
        version = response.applied.placement.version
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_WITHIN_S):
                while self._groups.view.deployment.version < version:
                    await self._groups.next_view()
