"""The groups of one host: the processes that lead them, their replicas, and the memory these take.

Every step may be repeated: what is already so stays so. A process that ends unasked is started again with
its groups, which stay on the books meanwhile: steps wait for it, and nobody else needs to mend them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from services.core.errors import AlpaServeError, GroupUnavailable, InvalidPlacement
from services.core.profile import ParallelConfig
from services.infra.background import Completion
from services.worker.actors import HostedGroup, Leader, LeaderActor
from services.worker.leader.executor import Replica
from services.worker.memory import DeviceMemory
from services.worker.restarts import Restarts
from services.worker.settings import WorkerSettings

log = structlog.get_logger()


class HostedGroups:
    """All groups of this host. Steps on one process run one after the other."""

    def __init__(
        self,
        settings: WorkerSettings,
        leader: Callable[[WorkerSettings, Sequence[int]], Leader] = LeaderActor,
        restarts: Callable[[], Restarts] = Restarts,
    ) -> None:
        self._settings = settings
        self._leader = leader
        self._restarts = restarts
        self._memory = DeviceMemory(settings.num_devices, settings.memory_bytes)
        self._groups: dict[str, HostedGroup] = {}
        self._leaders: set[Leader] = set()
        self._started: asyncio.Queue[Leader] = asyncio.Queue()
        self._shared: Leader | None = None
        self._forming = asyncio.Lock()
        self._steps = Completion()
        self.num_restarts = {"serving": 0, "given_up": 0}

    def all(self) -> list[HostedGroup]:
        return list(self._groups.values())

    def used_bytes(self) -> list[int]:
        return self._memory.used_bytes()

    async def form(self, name: str, config: ParallelConfig, local_devices: tuple[int, ...]) -> str:
        """Start a group; returns its leader's address. Raises: InvalidPlacement, GroupUnavailable."""
        return await self._steps.run(self._form(name, config, local_devices))

    async def load(self, name: str, replica: Replica) -> float:
        """Load a model into a group; returns the seconds it took. One that its devices hold in another layout
        drains and is unloaded first; if it cannot be loaded then, it is gone.

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
        async with self._forming:
            known = self._groups.get(name)
            if known is None:
                self._check(name, config, local_devices)
                known = await self._formed(name, config, local_devices)
            elif (known.config, known.local_devices) != (config, local_devices):
                raise InvalidPlacement(f"group {name!r} runs {known.config} on devices {known.local_devices}")
            return known.address

    async def _formed(self, name: str, config: ParallelConfig, local_devices: tuple[int, ...]) -> HostedGroup:
        leader = self._shared or self._leader(self._settings, local_devices)
        group = HostedGroup(name, config, local_devices, leader)
        async with leader.turn:
            if leader in self._leaders:
                await leader.form(group)
            else:
                await leader.start([group])
                self._leaders.add(leader)
                self._started.put_nowait(leader)
            if self._settings.executor == "emulated":
                self._shared = leader
            self._groups[name] = group
        return group

    async def _load(self, name: str, replica: Replica) -> float:
        transfer_s = await self._transfer(name, replica)
        async with self._turn(name) as group:
            if group is None:
                raise GroupUnavailable(f"group {name!r} does not run here")
            model = replica.model.name
            self._memory.take(name, model, group.local_devices, self._needed_bytes(group, replica))
            known = group.replicas.get(model)
            try:
                if known is not None and not self._keeps_layout(group, known, replica):
                    log.info("layout_changed", group=name, model=model, boundaries=replica.boundaries)
                    await group.leader.unload(group, model)
                    known = None
                seconds = await group.leader.load(group, replica)
            except Exception:
                self._settle(group, model, known)
                raise
            self._settle(group, model, replica)
            return transfer_s + seconds

    async def _transfer(self, name: str, replica: Replica) -> float:
        """Take the time in which emulated devices load weights that they do not hold, side by side with other groups
        though one process leads them all; returns it in seconds. Raises: InvalidPlacement, DoesNotFit, at once."""
        group, rate = self._groups.get(name), self._settings.load_bytes_per_s
        if self._settings.executor != "emulated" or rate is None or group is None:
            return 0.0
        model = replica.model.name
        if model in group.replicas:
            return 0.0
        self._memory.check(name, model, group.local_devices, self._needed_bytes(group, replica))
        await asyncio.sleep(replica.heaviest_stage_bytes / rate)
        return replica.heaviest_stage_bytes / rate

    def _needed_bytes(self, group: HostedGroup, replica: Replica) -> int:
        """What each device holds while the replica is loaded: the heavier of it and the one that it replaces, since to
        hold less afterwards always fits. Raises: InvalidPlacement if it is not one of this group's."""
        if len(replica.stage_latency_s) != group.config.inter_op:
            raise InvalidPlacement(f"{len(replica.stage_latency_s)} stage latencies for a {group.config} group")
        known = group.replicas.get(replica.model.name, replica)
        return max(known.heaviest_stage_bytes, replica.heaviest_stage_bytes)

    async def _unload(self, name: str, model: str) -> None:
        async with self._turn(name) as group:
            if group is not None and model in group.replicas:
                with suppress(GroupUnavailable):
                    await group.leader.unload(group, model)
                self._forget_replica(group, model)

    async def _dissolve(self, name: str) -> None:
        async with self._turn(name) as group:
            if group is not None:
                with suppress(GroupUnavailable):
                    await group.leader.dissolve(group)
                self._forget(group)
                if group.leader is not self._shared:
                    await group.leader.stop(self._settings.drain_s)
                    self._leaders.discard(group.leader)

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[HostedGroup | None]:
        """The group, while nothing else is under way on its process; None if it does not run here."""
        group = self._groups.get(name)
        if group is None:
            yield None
            return
        async with group.leader.turn:
            yield group if self._groups.get(name) is group else None

    async def stop(self) -> None:
        """Let steps under way end, and every leader finish what it admitted, each for `drain_s`; then end it."""
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await self._steps.wait()
        except TimeoutError:
            log.warning("steps_cut_off", drain_s=self._settings.drain_s)
        await asyncio.gather(*(leader.stop(self._settings.drain_s) for leader in self._leaders))

    async def watch(self) -> None:
        """Start every process again that ends unasked, for as long as this runs."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._supervise(await self._started.get()))

    async def _supervise(self, leader: Leader) -> None:
        restarts = self._restarts()
        while (lived_s := await leader.ended()) is not None:
            async with leader.turn:
                groups = [group for group in self._groups.values() if group.leader is leader]
                if groups and await self._restarted(leader, groups, restarts, lived_s):
                    self.num_restarts["serving"] += 1
                    continue
                self.num_restarts["given_up"] += 1
                for group in groups:
                    log.error("group_lost", group=group.name)
                    self._forget(group)
                leader.leave_port()
                self._leaders.discard(leader)
                if leader is self._shared:
                    self._shared = None
                return

    async def _restarted(self, leader: Leader, groups: list[HostedGroup], restarts: Restarts, lived_s: float) -> bool:
        """Whether the process runs again, with its groups; without these, it has been given up."""
        while (pause_s := restarts.pause_s(lived_s)) is not None:
            await asyncio.sleep(pause_s)
            try:
                for group, model in await leader.start(groups):
                    self._forget_replica(group, model)
                return True
            except AlpaServeError as error:
                log.warning("restart_failed", address=leader.address, error=str(error))
                lived_s = 0.0
        return False

    def _check(self, name: str, config: ParallelConfig, local_devices: tuple[int, ...]) -> None:
        if len(set(local_devices)) != config.num_devices:
            raise InvalidPlacement(f"group {name!r} needs {config.num_devices} devices, got {local_devices}")
        for device in local_devices:
            if device >= self._settings.num_devices:
                raise InvalidPlacement(f"group {name!r} uses device {device} of {self._settings.num_devices}")

    def _forget(self, group: HostedGroup) -> None:
        self._memory.give_back_all(group.name)
        self._groups.pop(group.name, None)

    def _keeps_layout(self, group: HostedGroup, known: Replica, replica: Replica) -> bool:
        """Emulated devices hold nothing."""
        return self._settings.executor == "emulated" or replica.is_laid_out_as(known, group.config.intra_op)

    def _settle(self, group: HostedGroup, model: str, replica: Replica | None) -> None:
        """A load has ended: the group holds this replica of the model, or none."""
        if replica is None:
            self._forget_replica(group, model)
            return
        group.replicas[model] = replica
        self._memory.take(group.name, model, group.local_devices, replica.heaviest_stage_bytes)

    def _forget_replica(self, group: HostedGroup, model: str) -> None:
        group.replicas.pop(model, None)
        self._memory.give_back(group.name, model)
