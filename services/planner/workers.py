"""The single steps of a transition on workers and routers."""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any, TypeVar

import grpc.aio
import structlog
from alpaserve.v1 import worker_pb2

from services.core.deployment import DeployedGroup
from services.core.errors import AlpaServeError, DoesNotFit, GroupUnavailable, InvalidModel
from services.core.placement import Group
from services.infra.background import repeating
from services.infra.store.connection import OUTAGES
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.tracing import outgoing
from services.infra.wire import config_message, to_config
from services.planner.changes import Target
from services.planner.cluster import WorkerStubs

log = structlog.get_logger()

ROUTERS_FOLLOW_S = 2.0
POLL_S = 0.01
STATUS_TIMEOUT_S = 5.0
ALIVE_EVERY_S = 1.0
Answer = TypeVar("Answer")


class Workers:
    """The steps that workers take. All may be repeated, and fail once their worker has fallen silent.

    All raise GroupUnavailable, DoesNotFit or InvalidModel.
    """

    def __init__(self, stubs: WorkerStubs, members: MemberStore, step_timeout_s: float) -> None:
        self._stubs = stubs
        self._members = members
        self._timeout_s = step_timeout_s

    async def running(self, worker: WorkerRecord) -> dict[str, DeployedGroup]:
        """The groups that really run there, without latencies."""
        request = worker_pb2.GetWorkerStatusRequest()
        status = await self._answer(
            worker, self._stubs.at(worker.address).GetWorkerStatus(request, timeout=STATUS_TIMEOUT_S)
        )
        return {
            group.group: DeployedGroup(
                name=group.group,
                config=to_config(group.config),
                devices=tuple(worker.first_device + device for device in group.local_devices),
                worker=worker.name,
                address=group.address,
                replicas=dict.fromkeys(group.models, ()),
            )
            for group in status.groups
        }

    async def form(self, worker: WorkerRecord, name: str, group: Group) -> DeployedGroup:
        request = worker_pb2.FormGroupRequest(
            group=name,
            config=config_message(group.config),
            local_devices=[device - worker.first_device for device in group.devices],
        )
        formed = await self._answer(worker, self._stubs.at(worker.address).FormGroup(request, **self._sending()))
        return DeployedGroup(name, group.config, group.devices, worker.name, formed.address, {})

    async def load(self, worker: WorkerRecord, group: DeployedGroup, model: str, target: Target) -> None:
        """Load a model, or tell a group that holds it what it is predicted to take now."""
        request = target.load_request(group, model)
        await self._answer(worker, self._stubs.at(worker.address).LoadModel(request, **self._sending()))

    async def unload(self, worker: WorkerRecord, group: str, model: str) -> None:
        request = worker_pb2.UnloadModelRequest(group=group, model=model)
        await self._answer(worker, self._stubs.at(worker.address).UnloadModel(request, **self._sending()))

    async def dissolve(self, worker: WorkerRecord, group: str) -> None:
        request = worker_pb2.DissolveGroupRequest(group=group)
        await self._answer(worker, self._stubs.at(worker.address).DissolveGroup(request, **self._sending()))

    def _sending(self) -> dict[str, Any]:
        return {"timeout": self._timeout_s, "metadata": outgoing()}

    async def _answer(self, worker: WorkerRecord, call: Awaitable[Answer]) -> Answer:
        step = asyncio.ensure_future(call)
        try:
            num_silent = 0
            while not step.done():
                await asyncio.wait([step], timeout=ALIVE_EVERY_S)
                num_silent = 0 if step.done() or await self._is_alive(worker) else num_silent + 1
                if num_silent > 1:
                    raise GroupUnavailable(f"worker {worker.name} fell silent during a step")
            return step.result()
        except grpc.aio.AioRpcError as error:
            raise step_error(error) from None
        finally:
            step.cancel()

    async def _is_alive(self, worker: WorkerRecord) -> bool:
        """Without the store nobody is known to be gone."""
        try:
            return any(known.name == worker.name for known in await self._members.workers())
        except OUTAGES:
            return True


def step_error(error: grpc.aio.AioRpcError) -> AlpaServeError:
    """A worker's refusal as the error it was."""
    kinds: dict[grpc.StatusCode, type[AlpaServeError]] = {
        grpc.StatusCode.FAILED_PRECONDITION: DoesNotFit,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidModel,
    }
    return kinds.get(error.code(), GroupUnavailable)(str(error.details()))


async def routers_follow(members: MemberStore, version: int) -> None:
    """Wait until every live router serves `version`; one that does not in time is silent, and will find
    out from the groups themselves. During an outage of the store nobody knows what they serve."""
    give_up_s = monotonic() + ROUTERS_FOLLOW_S
    seen: dict[str, int] | None = None
    async for _ in repeating(POLL_S):
        try:
            async with asyncio.timeout(max(give_up_s - monotonic(), POLL_S)):
                seen = await members.router_versions()
        except OUTAGES as error:
            log.warning("router_versions_unknown", placement_version=version, error=str(error))
        else:
            if all(served >= version for served in seen.values()):
                return
        if monotonic() > give_up_s:
            log.warning("routers_behind", placement_version=version, seen=seen)
            return
