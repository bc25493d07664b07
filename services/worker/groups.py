"""The groups of one host: their actors, their replicas, and the memory these take.

Every step may be repeated: what is already so stays so.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import structlog

from services.core.errors import GroupUnavailable, InvalidPlacement
from services.core.profile import ParallelConfig
from services.infra.background import Completion, repeating
from services.infra.ray_cluster import answer
from services.worker.actors import start_leader
from services.worker.leader.executor import Replica
from services.worker.memory import DeviceMemory
from services.worker.settings import WorkerSettings

log = structlog.get_logger()

WATCH_EVERY_S = 0.5


@dataclass(slots=True)
class HostedGroup:
    """A group that runs here. `local_devices` count from this host's first."""

    name: str
    config: ParallelConfig
    local_devices: tuple[int, ...]
    actor: Any
    address: str
    replicas: dict[str, Replica] = field(default_factory=dict)


class HostedGroups:
    """All groups of this host. Steps run one after the other."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._memory = DeviceMemory(settings.num_devices, settings.memory_bytes)
        self._groups: dict[str, HostedGroup] = {}
        self._shared_actor: Any = None
        self._turn = asyncio.Lock()
        self._steps = Completion()
        self._lives: dict[Any, asyncio.Future[None]] = {}

    def all(self) -> list[HostedGroup]:
        return list(self._groups.values())

    def used_bytes(self) -> list[int]:
        return self._memory.used_bytes()

    async def form(self, name: str, config: ParallelConfig, local_devices: tuple[int, ...]) -> str:
        """Start a group; returns its leader's address. Raises: InvalidPlacement."""
        return await self._steps.run(self._form(name, config, local_devices))

    async def load(self, name: str, replica: Replica) -> float:
        """Load a model into a group; returns the seconds it took.

        Raises: DoesNotFit, InvalidModel, GroupUnavailable.
        """
        return await self._steps.run(self._load(name, replica))

    async def unload(self, name: str, model: str) -> None:
        """Let what was admitted of a model finish, then free it."""
        await self._steps.run(self._unload(name, model))

    async def dissolve(self, name: str) -> None:
        """Let what was admitted finish, then end the group."""
        await self._steps.run(self._dissolve(name))

    async def _form(self, name: str, config: ParallelConfig, local_devices: tuple[int, ...]) -> str:
        async with self._turn:
            known = self._groups.get(name)
            if known is None:
                self._check(name, config, local_devices)
                actor = await self._actor(local_devices)
                try:
                    address = await answer(actor.address.remote())
                    await answer(actor.form.remote(name, config))
                except Exception:
                    if actor is not self._shared_actor:
                        actor.stop.remote()
                    raise
                known = self._groups[name] = HostedGroup(name, config, local_devices, actor, address)
            elif (known.config, known.local_devices) != (config, local_devices):
                raise InvalidPlacement(f"group {name!r} runs {known.config} on devices {known.local_devices}")
            return known.address

    async def _load(self, name: str, replica: Replica) -> float:
        async with self._turn:
            group = self._group(name)
            model = replica.model.name
            if len(replica.stage_latency_s) != group.config.inter_op:
                raise InvalidPlacement(f"{len(replica.stage_latency_s)} stage latencies for a {group.config} group")
            self._memory.take(name, model, group.local_devices, replica.heaviest_stage_bytes)
            try:
                seconds = await answer(group.actor.load.remote(name, replica))
            except Exception:
                if model not in group.replicas:
                    self._memory.give_back(name, model)
                raise
            group.replicas[model] = replica
            return float(seconds)

    async def _unload(self, name: str, model: str) -> None:
        async with self._turn:
            group = self._groups.get(name)
            if group is not None and model in group.replicas:
                await answer(group.actor.unload.remote(name, model))
                del group.replicas[model]
                self._memory.give_back(name, model)

    async def _dissolve(self, name: str) -> None:
        async with self._turn:
            group = self._groups.get(name)
            if group is not None:
                await answer(group.actor.dissolve.remote(name))
                if group.actor is not self._shared_actor:
                    await answer(group.actor.stop.remote())
                self._forget(group)

    async def stop(self) -> None:
        """Let every leader finish what it admitted, then end it."""
        await self._steps.wait()
        for actor in self._lives:
            actor.stop.remote()
        if self._lives:
            await asyncio.wait(self._lives.values(), timeout=self._settings.drain_s)

    async def watch(self) -> None:
        """Forget the groups of actors that ended, so that the next plan forms them again."""
        async for _ in repeating(WATCH_EVERY_S):
            for actor in [actor for actor, life in self._lives.items() if life.done()]:
                life = self._lives.pop(actor)
                lost = [group for group in self._groups.values() if group.actor is actor]
                for group in lost:
                    log.error("group_lost", group=group.name, error=repr(life.exception()))
                    self._forget(group)
                if actor is self._shared_actor:
                    self._shared_actor = None

    def _check(self, name: str, config: ParallelConfig, local_devices: tuple[int, ...]) -> None:
        if len(set(local_devices)) != config.num_devices:
            raise InvalidPlacement(f"group {name!r} needs {config.num_devices} devices, got {local_devices}")
        for device in local_devices:
            if device >= self._settings.num_devices:
                raise InvalidPlacement(f"group {name!r} uses device {device} of {self._settings.num_devices}")

    def _group(self, name: str) -> HostedGroup:
        group = self._groups.get(name)
        if group is None:
            raise GroupUnavailable(f"group {name!r} does not run here")
        return group

    def _forget(self, group: HostedGroup) -> None:
        self._memory.give_back_all(group.name)
        self._groups.pop(group.name, None)

    async def _actor(self, local_devices: tuple[int, ...]) -> Any:
        if self._settings.executor == "emulated" and self._shared_actor is not None:
            return self._shared_actor
        actor = await asyncio.to_thread(start_leader, self._settings, local_devices)
        self._lives[actor] = asyncio.ensure_future(actor.serve.remote())
        if self._settings.executor == "emulated":
            self._shared_actor = actor
        return actor
