"""The worker's control plane: parse, call, reply."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
from alpaserve.v1 import worker_pb2, worker_pb2_grpc

from services.core.errors import InvalidArgument
from services.infra.security.paths import located
from services.infra.tracing import note
from services.infra.wire import config_message, to_config, to_device_costs, to_model
from services.worker.groups import HostedGroups
from services.worker.leader.executor import Replica

Context = grpc.aio.ServicerContext[Any, Any]


class WorkerServicer(worker_pb2_grpc.WorkerServicer):
    """Steps of a transition, each of which may be repeated."""

    def __init__(self, groups: HostedGroups, models_dir: Path | None = None) -> None:
        self._groups = groups
        self._models_dir = models_dir

    async def FormGroup(self, request: worker_pb2.FormGroupRequest, context: Context) -> worker_pb2.FormGroupResponse:
        note(group=request.group)
        address = await self._groups.form(request.group, to_config(request.config), tuple(request.local_devices))
        return worker_pb2.FormGroupResponse(address=address)

    async def LoadModel(self, request: worker_pb2.LoadModelRequest, context: Context) -> worker_pb2.LoadModelResponse:
        note(group=request.group, model=request.model.name)
        if not request.stage_weight_bytes:
            raise InvalidArgument("stage_weight_bytes is empty")
        replica = Replica(
            model=await asyncio.to_thread(located, to_model(request.model), self._models_dir),
            stage_latency_s=tuple(request.stage_latency_s),
            stage_weight_bytes=tuple(request.stage_weight_bytes),
            request_overhead_s=request.request_overhead_s,
            larger_batches={batch.batch_size: tuple(batch.stage_latency_s) for batch in request.larger_batches},
            boundaries=tuple(request.boundaries),
            device_costs=to_device_costs(request.device_costs) if request.HasField("device_costs") else None,
        )
        return worker_pb2.LoadModelResponse(load_time_s=await self._groups.load(request.group, replica))

    async def UnloadModel(
        self, request: worker_pb2.UnloadModelRequest, context: Context
    ) -> worker_pb2.UnloadModelResponse:
        note(group=request.group, model=request.model)
        await self._groups.unload(request.group, request.model)
        return worker_pb2.UnloadModelResponse()

    async def DissolveGroup(
        self, request: worker_pb2.DissolveGroupRequest, context: Context
    ) -> worker_pb2.DissolveGroupResponse:
        note(group=request.group)
        await self._groups.dissolve(request.group)
        return worker_pb2.DissolveGroupResponse()

    async def GetWorkerStatus(
        self, request: worker_pb2.GetWorkerStatusRequest, context: Context
    ) -> worker_pb2.GetWorkerStatusResponse:
        groups = [
            worker_pb2.RunningGroup(
                group=group.name,
                config=config_message(group.config),
                local_devices=group.local_devices,
                models=sorted(group.replicas),
                address=group.address,
            )
            for group in self._groups.all()
        ]
        return worker_pb2.GetWorkerStatusResponse(groups=groups, used_bytes=self._groups.used_bytes())
