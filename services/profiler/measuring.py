"""Profiles of registered models: who has the devices, by which costs they are used, and where the results go."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import structlog

from services.core.device import DeviceCosts
from services.core.errors import InvalidArgument, UnknownProfile
from services.core.overheads import ALONE
from services.core.profile import Device, ModelProfile, Profiles, StageProfile
from services.core.spec import Cluster
from services.infra.ray_cluster import answer, joined_cluster, start_actor
from services.infra.store.measurements import MeasurementStore
from services.infra.store.registry import ProfileStore
from services.parallel.environment import device_environment
from services.parallel.known_devices import known_device
from services.profiler.benches import Benches
from services.profiler.cost_model import CostModel
from services.profiler.order import Conditions, Order, fingerprint
from services.profiler.session import Ground, Pruned, Session
from services.profiler.settings import ProfilerSettings

log = structlog.get_logger()

Event = StageProfile | Pruned | ModelProfile


class Measuring:
    """One order at a time has the devices."""

    def __init__(self, settings: ProfilerSettings, profiles: ProfileStore, measurements: MeasurementStore) -> None:
        self._settings = settings
        self._profiles = profiles
        self._measurements = measurements
        self._turn = asyncio.Lock()

    async def profile(self, order: Order) -> AsyncIterator[Event]:
        """Every entry as it is had and what is pruned, then the stored profile.

        Raises: InvalidModel, InvalidArgument, naming the offending value; DoesNotFit if no config is left.
        """
        order.configs_on(self._cluster(order))
        name, settings = order.model.profile, self._settings
        stored = await self._stored(name)
        if order.device_kind:
            kept(stored, order.device_kind, order.is_afresh)
        async with self._turn, joined_cluster(settings.ray_address, settings.ray_object_store_bytes):
            # Estimates for other devices need none of ours. Actors end when nobody holds them.
            platform = "cpu" if order.device_kind else settings.platform
            environment = device_environment(settings.num_devices, platform)
            cost_model = await asyncio.to_thread(start_actor, CostModel, environment)
            device = await self._device(cost_model, order)
            known = kept(stored, device.kind, order.is_afresh)
            ground = await self._ground(cost_model, order, device, known.device.costs)
            session = Session(cost_model, Benches(settings, platform), order, ground, self._measurements)
            async for event in session.events():
                yield event
            yield await self._store(name, known, session, replace(device, costs=ground.costs))
            await self._measurements.forget(ground.fingerprint)

    def _cluster(self, order: Order) -> Cluster:
        """The devices that the order is for. Raises: InvalidArgument for a kind that is not known."""
        settings = self._settings
        known = known_device(order.device_kind) if order.device_kind else Device()
        return Cluster(
            num_devices=order.num_devices or settings.num_devices,
            devices_per_node=known.devices_per_node or settings.devices_per_node or settings.num_devices,
            memory_bytes=known.memory_bytes or settings.memory_bytes,
        )

    async def _device(self, cost_model: Any, order: Order) -> Device:
        """The kind that is ordered, else the one here; without costs until these are measured."""
        settings = self._settings
        if order.device_kind:
            cluster = self._cluster(order)
            known = known_device(order.device_kind)
            return replace(known, memory_bytes=cluster.memory_bytes, devices_per_node=cluster.devices_per_node)
        kind = await answer(cost_model.device_kind.remote())
        return Device(kind, settings.memory_bytes, settings.devices_per_node or settings.num_devices)

    async def _ground(self, cost_model: Any, order: Order, device: Device, known: DeviceCosts | None) -> Ground:
        settings = self._settings
        repeats = settings.num_warmups, order.num_repeats or settings.num_repeats
        versions = await answer(cost_model.versions.remote())
        name = fingerprint(order.source, Conditions(device.kind, settings.num_devices, versions, *repeats))
        if order.is_afresh:
            await self._measurements.forget(name)
        return Ground(
            cluster=self._cluster(order),
            costs=device.costs or await self._costs(cost_model, order, name, known),
            num_measurable=0 if order.device_kind else settings.num_devices,
            repeats=repeats,
            fingerprint=name,
        )

    async def _costs(self, cost_model: Any, order: Order, name: str, known: DeviceCosts | None) -> DeviceCosts:
        """Those that the order began with, those of the profile that it adds to, or new ones. All entries of a profile
        are sharded by the same."""
        found = await self._measurements.costs(name) or known
        if found is None:
            found = await answer(cost_model.calibrate.remote(order.source.dtype))
            log.info("devices_calibrated", flops_per_s=found.flops_per_s, bytes_per_s=found.bytes_per_s)
        await self._measurements.put_costs(name, found)
        return found

    async def _stored(self, name: str) -> Profiles:
        try:
            return await self._profiles.get(name)
        except UnknownProfile:
            return Profiles({name: ModelProfile(name, ())})

    async def _store(self, name: str, known: Profiles, session: Session, device: Device) -> ModelProfile:
        again = {(stage.config, stage.batch_size) for stage in session.stages}
        older = (stage for stage in known[name].stages if (stage.config, stage.batch_size) not in again)
        profile = replace(known[name], stages=(*older, *session.stages))
        if profile.find(ALONE) is None and profile.reference_latency_s is None:
            profile = replace(profile, reference_latency_s=await session.reference_latency_s())
        request_overhead_s = await session.overhead_s()
        await self._profiles.put(Profiles({name: profile}, device, request_overhead_s=request_overhead_s))
        log.info("profile_stored", profile=name, request_overhead_s=request_overhead_s)
        return profile


def kept(stored: Profiles, kind: str, is_afresh: bool) -> Profiles:
    """What stays of one stored profile as far as it is not profiled again on devices of this kind; afresh, only what
    does not follow from device costs. Raises: InvalidArgument if it is of another kind of device."""
    is_alike = stored.device.kind in ("", kind)
    if is_alike and not is_afresh:
        return stored
    ((name, profile),) = stored.models.items()
    if not is_afresh:
        raise InvalidArgument(
            f"profile {name!r} is of {stored.device.kind!r} devices, this order of {kind!r}: order it afresh to "
            "replace it, or register the model under another profile"
        )
    unsharded = tuple(stage for stage in profile.stages if stage.config.intra_op == 1 and is_alike)
    return Profiles({name: replace(profile, stages=unsharded)})
