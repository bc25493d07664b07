"""The live workers as one cluster, and the way to them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import gcd

import grpc.aio
from alpaserve.v1 import worker_pb2_grpc
from alpaserve_client.security import open_async_channel

from services.core.deployment import DeployedGroup
from services.core.errors import InvalidPlacement, InvalidSpec, NotPlaced
from services.core.placement import Group, Placement
from services.core.spec import Cluster, ModelSpec, Spec
from services.infra.security.settings import SecuritySettings
from services.infra.server import RECONNECT
from services.infra.store.members import WorkerRecord
from services.planner.alignment import aligned


class LiveCluster:
    """Planners number devices 0 … num_devices - 1; the running system has global ids with gaps
    where workers left. Nodes are cut so that a group never crosses a worker."""

    def __init__(self, workers: Iterable[WorkerRecord]) -> None:
        """Raises: NotPlaced without workers."""
        self.workers = tuple(workers)
        if not self.workers:
            raise NotPlaced("no worker is alive")
        self.devices = tuple(device for worker in self.workers for device in worker.devices)

    @property
    def memory_bytes(self) -> int:
        return min(worker.memory_bytes for worker in self.workers)

    @property
    def devices_per_node(self) -> int:
        return gcd(*(worker.num_devices for worker in self.workers))

    def for_planning(self) -> Cluster:
        return Cluster(len(self.devices), self.devices_per_node, self.memory_bytes)

    def as_numbered(self) -> Cluster:
        """The cluster under global ids: gaps count as devices that nobody uses."""
        return Cluster(max(self.devices) + 1, self.devices_per_node, self.memory_bytes)

    def for_model(self, model: ModelSpec) -> ModelSpec:
        """A model as it is planned: its nodes are numbered by global ids, so that they stay the same
        when a worker leaves, those of a plan without gaps.

        Raises: InvalidSpec if none of its nodes is there.
        """
        if model.nodes is None:
            return model
        size = self.devices_per_node
        nodes = tuple(n for n, device in enumerate(self.devices[::size]) if device // size in model.nodes)
        if not nodes:
            raise InvalidSpec(f"model {model.name!r}: no live worker is on its nodes {model.nodes}")
        return replace(model, nodes=nodes, min_nodes=min(model.min_nodes, len(nodes)))

    def numbered(self, placement: Placement) -> Placement:
        """A plan on global ids."""
        return on_devices(placement, dict(enumerate(self.devices)))

    def as_planned(self, placement: Placement) -> Placement | None:
        """A running placement on the devices of plans; None if one of its own is on no live worker."""
        plan_of = {device: index for index, device in enumerate(self.devices)}
        if any(device not in plan_of for group in placement.groups for device in group.devices):
            return None
        return on_devices(placement, plan_of)

    def placed(self, placement: Placement, running: Iterable[DeployedGroup], spec: Spec) -> Placement:
        """A plan on global ids, as far as may be on the devices of running groups that it resembles;
        where models ask for nodes, on the devices that were planned."""
        numbered = self.numbered(placement)
        if any(model.nodes is not None or model.min_nodes > 1 for model in spec.models):
            return numbered
        alive = [group for group in running if set(group.devices) <= set(self.devices)]
        return aligned(numbered, alive, [worker.devices for worker in self.workers])

    def worker_of(self, group: Group) -> WorkerRecord:
        """The one worker that all devices of a group belong to: where a group across workers would begin.

        Raises: InvalidPlacement for devices that are not there, or of more than one worker.
        """
        owners = {device: worker for worker in self.workers for device in worker.devices}
        named = f"group {group.config} of {', '.join(group.models) or 'no model'} on devices {group.devices}"
        for device in group.devices:
            if device not in owners:
                raise InvalidPlacement(f"{named}: device {device} is on no live worker; there are: {list(owners)}")
        spanned = dict.fromkeys(owners[device].name for device in group.devices)
        if len(spanned) > 1:
            raise InvalidPlacement(
                f"{named} spans workers {', '.join(spanned)}: all devices of a group must belong to one worker"
            )
        return owners[group.devices[0]]


def on_devices(placement: Placement, device_of: Mapping[int, int]) -> Placement:
    """The same groups on other devices."""
    groups = (
        replace(group, devices=tuple(device_of[device] for device in group.devices)) for group in placement.groups
    )
    return replace(placement, groups=tuple(groups))


class WorkerStubs:
    """One channel per worker address, opened when first needed. Each call shows this process's token as it is then."""

    def __init__(self, security: SecuritySettings) -> None:
        self._security = security
        self._channels: dict[str, grpc.aio.Channel] = {}

    def at(self, address: str) -> "worker_pb2_grpc.WorkerAsyncStub":
        channel = self._channels.get(address)
        if channel is None:
            channel = open_async_channel(address, RECONNECT, self._security.calling_tls, self._security.own_token)
            self._channels[address] = channel
        return worker_pb2_grpc.WorkerStub(channel)

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)
