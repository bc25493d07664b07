"""Profiles of registered models: what to measure, on what, and where the results go."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from services.core.errors import InvalidArgument, InvalidModel, UnknownProfile
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import Device, ModelProfile, ParallelConfig, Profiles, StageProfile
from services.infra.ray_cluster import answer, joined_cluster, start_actor
from services.infra.store.registry import ProfileStore
from services.parallel.environment import device_environment
from services.profiler.bench import Bench, Trial, overhead_s
from services.profiler.settings import ProfilerSettings

log = structlog.get_logger()

MAX_INTRA_OP = 4
MAX_INTER_OP = 8
MESSAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Order:
    """What to measure of a model; empty configs mean all that the devices can run."""

    model: RegisteredModel
    configs: tuple[ParallelConfig, ...]
    batch_sizes: tuple[int, ...]
    num_repeats: int


class Measuring:
    """One order at a time has the devices."""

    def __init__(self, settings: ProfilerSettings, profiles: ProfileStore) -> None:
        self._settings = settings
        self._profiles = profiles
        self._turn = asyncio.Lock()

    async def profile(self, order: Order) -> AsyncIterator[StageProfile | ModelProfile]:
        """Every measurement as it is made, then the stored profile.

        Raises: InvalidModel, InvalidArgument, naming the offending value.
        """
        source = order.model.source
        if source is None:
            raise InvalidModel(f"model {order.model.name!r} has no source to measure")
        configs = order.configs or all_configs(self._settings.num_devices)
        for config in configs:
            if config.num_devices > self._settings.num_devices:
                raise InvalidArgument(f"config {config} needs more than the {self._settings.num_devices} devices here")
        for batch_size in order.batch_sizes:
            if batch_size < 1:
                raise InvalidArgument(f"batch sizes must be at least 1, got {batch_size}")
        settings = self._settings
        async with self._turn, joined_cluster(settings.ray_address, settings.ray_object_store_bytes):
            bench = await asyncio.to_thread(self._start_bench)
            measured: list[StageProfile] = []
            for config in configs:
                for stage in await self._measured(bench, order, source, config):
                    measured.append(stage)
                    yield stage
            yield await self._store(bench, order.model.profile, measured)

    def _start_bench(self) -> Any:
        settings = self._settings
        return start_actor(Bench, device_environment(settings.num_devices, settings.platform), settings.cache_dir)

    async def _measured(
        self, bench: Any, order: Order, source: ModelSource, config: ParallelConfig
    ) -> Sequence[StageProfile]:
        trial = Trial(
            source=source,
            config=config,
            batch_sizes=order.batch_sizes or (1,),
            num_warmups=self._settings.num_warmups,
            num_repeats=order.num_repeats or self._settings.num_repeats,
        )
        stages: Sequence[StageProfile] = await answer(bench.stages.remote(trial))
        log.info("config_measured", model=order.model.name, config=str(config), num_batch_sizes=len(stages))
        return stages

    async def _store(self, bench: Any, name: str, measured: Sequence[StageProfile]) -> ModelProfile:
        settings = self._settings
        device = Device(
            kind=await answer(bench.device_kind.remote()),
            memory_bytes=settings.memory_bytes,
            devices_per_node=settings.devices_per_node or settings.num_devices,
        )
        known = await self._known(name)
        again = {(stage.config, stage.batch_size) for stage in measured}
        older = tuple(stage for stage in known.stages if (stage.config, stage.batch_size) not in again)
        profile = replace(known, stages=(*older, *measured))
        request_overhead_s = await overhead_s(await answer(bench.serve_echo.remote()), MESSAGE_BYTES)
        await self._profiles.put(Profiles({name: profile}, device, request_overhead_s=request_overhead_s))
        log.info("profile_stored", profile=name, request_overhead_s=request_overhead_s)
        return profile

    async def _known(self, name: str) -> ModelProfile:
        """What earlier orders measured; what this one did not measure again is kept."""
        try:
            return (await self._profiles.get(name))[name]
        except UnknownProfile:
            return ModelProfile(name, ())


def all_configs(num_devices: int) -> tuple[ParallelConfig, ...]:
    """The configs that a search considers on so many devices: powers of two (section 4.2)."""
    sizes = [2**exponent for exponent in range(num_devices.bit_length())]
    return tuple(
        ParallelConfig(inter_op, intra_op)
        for inter_op in sizes
        for intra_op in sizes
        if inter_op <= MAX_INTER_OP and intra_op <= MAX_INTRA_OP and inter_op * intra_op <= num_devices
    )
