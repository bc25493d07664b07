"""A bench for every size of group: XLA shares its threads among the devices of a process, so that a config runs as it
will only where the process has as many devices as its group.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from services.infra.ray_cluster import answer, end_actor, start_actor
from services.parallel.environment import device_environment
from services.profiler.bench import Bench
from services.profiler.path import Relay
from services.profiler.settings import ProfilerSettings
from services.profiler.way import Way, new_way


@dataclass(frozen=True, slots=True)
class Place:
    """A bench, and the address at which a relay leads to it as a router does to a leader."""

    bench: Any
    relay: str
    way: Way
    num_devices: int


class Benches:
    """One at a time; it ends when another is opened."""

    def __init__(self, settings: ProfilerSettings, platform: str) -> None:
        self._settings = settings
        self._platform = platform
        self._actors: list[Any] = []
        self._place: Place | None = None

    async def open(self, num_devices: int) -> Place:
        """A bench with so many devices, which may have a config loaded."""
        if self._place is None or self._place.num_devices != num_devices:
            self._close()
            self._place = await self._opened(num_devices)
        return self._place

    async def _opened(self, num_devices: int) -> Place:
        settings = self._settings
        environment = device_environment(num_devices, self._platform)
        bench = await asyncio.to_thread(start_actor, Bench, environment, settings.cache_dir)
        way = new_way(settings)
        relay = await asyncio.to_thread(start_actor, Relay, {}, way)
        self._actors = [bench, relay]
        leader = await answer(bench.serve.remote(way))
        return Place(bench, await answer(relay.serve.remote(leader)), way, num_devices)

    def _close(self) -> None:
        for actor in self._actors:
            end_actor(actor)
        self._actors = []
        self._place = None
