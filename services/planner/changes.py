"""What a transition leads to, and its single steps on workers and routers."""

import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

import grpc.aio
import structlog
from alpaserve.v1 import worker_pb2

from services.core.deployment import DeployedGroup, DeployedModel, Deployment
from services.core.difference import load_bytes
from services.core.errors import (
    AlpaServeError,
    DoesNotFit,
    GroupUnavailable,
    InvalidModel,
    InvalidPlacement,
    InvalidProfile,
    UnknownModel,
)
from services.core.model import RegisteredModel
from services.core.placement import Group, Placement, check_placement
from services.core.profile import ParallelConfig, Profiles
from services.core.spec import Spec
from services.infra.background import repeating
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.wire import config_message, device_costs_message, model_message, to_config
from services.planner.cluster import LiveCluster, WorkerStubs
from services.planner.transition import Transition, plan_transition

log = structlog.get_logger()

ROUTERS_FOLLOW_S = 2.0
POLL_S = 0.01
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Change:
    """A transition, where it leads, and the weight bytes that it loads over all devices."""

    transition: Transition
    target: Placement
    load_bytes: int


@dataclass(frozen=True, slots=True)
class Target:
    """A placement on global device ids, with all that running it needs."""

    placement: Placement
    cluster: LiveCluster
    models: Mapping[str, RegisteredModel]
    profiles: Profiles
    policy: str

    def check(self) -> None:
        """Raises: InvalidPlacement, UnknownModel, UnknownProfile, DoesNotFit, InvalidModel."""
        if not self.placement.groups:
            raise InvalidPlacement("a placement needs at least one group")
        held = {model for group in self.placement.groups for model in group.models}
        for name in held:
            if name not in self.models:
                raise UnknownModel(f"no model {name!r} is registered")
        for group in self.placement.groups:
            worker = self.cluster.worker_of(group)
            for name in group.models:
                if worker.executor == "jax" and self.models[name].source is None:
                    raise InvalidModel(f"model {name!r} has no source: only emulated devices can serve it")
        if held:
            spec = Spec(self.cluster.as_numbered(), tuple(self.models[name].spec() for name in sorted(held)))
            check_placement(self.placement, spec, self.profiles)
        for name in held:
            deployed_model(self.models[name], self.profiles)

    def transition_from(self, running: Deployment) -> Transition:
        return plan_transition(running, self.placement, self.heaviest, self.cluster.memory_bytes)

    def change(self, transition: Transition) -> Change:
        """What a transition to this target changes."""
        num_bytes = 0
        for index, model in transition.loads:
            config = self.placement.groups[index].config
            num_bytes += load_bytes(self.profiles[self.models[model].profile], config)
        return Change(transition, self.placement, num_bytes)

    def heaviest(self, model: str, config: ParallelConfig) -> int:
        return self.profiles[self.models[model].profile].at(config).heaviest_stage_bytes

    def latency_s(self, model: str, config: ParallelConfig) -> tuple[float, ...]:
        return self.profiles.stage_latency_s(self.models[model].profile, config)

    def load_request(self, group: DeployedGroup, model: str) -> worker_pb2.LoadModelRequest:
        """All that a worker must know to run a model, and to predict how long that takes."""
        registered, profiles = self.models[model], self.profiles
        profile = profiles[registered.profile].at(group.config)
        costs = profiles.costs_of(registered.profile)
        return worker_pb2.LoadModelRequest(
            group=group.name,
            model=model_message(registered),
            stage_latency_s=self.latency_s(model, group.config),
            stage_weight_bytes=profile.stage_weight_bytes,
            request_overhead_s=profiles.overhead_s(registered.profile),
            larger_batches=[
                worker_pb2.BatchCost(
                    batch_size=size,
                    stage_latency_s=profiles.stage_latency_s(registered.profile, group.config, size),
                )
                for size in profiles[registered.profile].batch_sizes(group.config)
                if 1 < size <= self.placement.max_batch_size
            ],
            boundaries=profile.boundaries,
            device_costs=None if costs is None else device_costs_message(costs),
        )

    def deployed_models(self) -> dict[str, DeployedModel]:
        """Every registered model; one whose SLO its profile cannot tell is not placed, and has none."""
        deployed = {}
        for name, model in self.models.items():
            try:
                deployed[name] = deployed_model(model, self.profiles)
            except InvalidProfile:
                deployed[name] = DeployedModel(None, model.idempotent)
        return deployed


def deployed_model(model: RegisteredModel, profiles: Profiles) -> DeployedModel:
    """What routers must know of a model; without its profile a relative SLO says nothing yet."""
    if model.slo_s is None and model.profile not in profiles.models:
        return DeployedModel(None, model.idempotent)
    slo_s = model.spec().slo(profiles)
    return DeployedModel(None if math.isinf(slo_s) else slo_s, model.idempotent)


class Workers:
    """The steps that workers take. All may be repeated."""

    def __init__(self, stubs: WorkerStubs, step_timeout_s: float) -> None:
        self._stubs = stubs
        self._timeout_s = step_timeout_s

    async def running(self, worker: WorkerRecord) -> dict[str, DeployedGroup]:
        """The groups that really run there, without latencies."""
        request = worker_pb2.GetWorkerStatusRequest()
        status = await self._answer(self._stubs.at(worker.address).GetWorkerStatus(request, timeout=5.0))
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
        formed = await self._answer(self._stubs.at(worker.address).FormGroup(request, timeout=self._timeout_s))
        return DeployedGroup(name, group.config, group.devices, worker.name, formed.address, {})

    async def load(self, worker: WorkerRecord, group: DeployedGroup, model: str, target: Target) -> None:
        request = target.load_request(group, model)
        await self._answer(self._stubs.at(worker.address).LoadModel(request, timeout=self._timeout_s))

    async def unload(self, worker: WorkerRecord, group: str, model: str) -> None:
        request = worker_pb2.UnloadModelRequest(group=group, model=model)
        await self._answer(self._stubs.at(worker.address).UnloadModel(request, timeout=self._timeout_s))

    async def dissolve(self, worker: WorkerRecord, group: str) -> None:
        request = worker_pb2.DissolveGroupRequest(group=group)
        await self._answer(self._stubs.at(worker.address).DissolveGroup(request, timeout=self._timeout_s))

    async def _answer(self, call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise step_error(error) from None


def step_error(error: grpc.aio.AioRpcError) -> AlpaServeError:
    """A worker's refusal as the error it was."""
    kinds: dict[grpc.StatusCode, type[AlpaServeError]] = {
        grpc.StatusCode.FAILED_PRECONDITION: DoesNotFit,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidModel,
    }
    return kinds.get(error.code(), GroupUnavailable)(str(error.details()))


async def routers_follow(members: MemberStore, version: int) -> None:
    """Wait until every live router serves `version`; one that does not in time is silent, and will find
    out from the groups themselves."""
    give_up_s = monotonic() + ROUTERS_FOLLOW_S
    async for _ in repeating(POLL_S):
        seen = await members.router_versions()
        if all(served >= version for served in seen.values()):
            return
        if monotonic() > give_up_s:
            log.warning("routers_behind", placement_version=version, seen=seen)
            return
