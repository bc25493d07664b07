"""The processes of leaders on a host, each a Ray actor: one for each group with real devices, one for all
emulated groups. They may end at any time, and come back at the same address."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

import structlog
from ray.exceptions import RayTaskError

from services.core.errors import AlpaServeError, GroupUnavailable
from services.core.profile import ParallelConfig
from services.infra.ray_cluster import answer, end_actor, make_mortal, start_actor
from services.parallel.environment import device_environment
from services.worker.leader.executor import Replica
from services.worker.leader.process import LeaderProcess
from services.worker.settings import WorkerSettings

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class HostedGroup:
    """A group that runs here. `local_devices` count from this host's first."""

    name: str
    config: ParallelConfig
    local_devices: tuple[int, ...]
    leader: "Leader"
    replicas: dict[str, Replica] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.leader.address


class Leader(Protocol):
    """A process of leaders through all its lives. Who asks anything of it holds its `turn`."""

    turn: asyncio.Lock
    address: str

    async def start(self, groups: Sequence[HostedGroup]) -> list[tuple[HostedGroup, str]]:
        """Start the process and let it lead these groups; routers get in when all is loaded. Returns the
        (group, model) that cannot be loaded any more.

        Raises: GroupUnavailable if it does not get that far; no process is left then.
        """

    async def ended(self) -> float | None:
        """Wait for the end of the process; the seconds it lived, or None if it was told to stop."""

    async def form(self, group: HostedGroup) -> None:
        """Lead one more group."""

    async def load(self, group: HostedGroup, replica: Replica) -> float:
        """Returns the seconds it took. Raises: InvalidModel, GroupUnavailable."""

    async def unload(self, group: HostedGroup, model: str) -> None:
        """Let what was admitted of a model finish, then free it."""

    async def dissolve(self, group: HostedGroup) -> None:
        """Let what was admitted finish, then lead the group no more."""

    async def stop(self, timeout_s: float) -> None:
        """Let the leaders finish what they admitted, then end the process."""

    def leave_port(self) -> None:
        """Take any free port at the next start."""


class LeaderActor:
    """A leader as a Ray actor of this host."""

    def __init__(self, settings: WorkerSettings, local_devices: Sequence[int]) -> None:
        self.turn = asyncio.Lock()
        self.address = ""
        self._settings = settings
        self._local_devices = local_devices
        self._port = 0
        self._actor: Any = None
        self._life: asyncio.Future[None] | None = None
        self._began_s = 0.0
        self._is_stopping = False

    async def start(self, groups: Sequence[HostedGroup]) -> list[tuple[HostedGroup, str]]:
        actor: Any = None
        try:
            actor = await asyncio.to_thread(start_actor, LeaderProcess, self._environment(), self._settings)
            await make_mortal(actor)
            lost = [(group, model) for group in groups for model in await resumed(actor, group)]
            self.address, pid = await answer(actor.open.remote(self._port))
        except BaseException as error:
            if actor is not None:
                end_actor(actor)
            if isinstance(error, AlpaServeError) or not isinstance(error, Exception):
                raise
            raise GroupUnavailable(f"a leader cannot be started: {error}") from error
        self._port = int(self.address.rpartition(":")[2])
        self._actor, self._began_s = actor, monotonic()
        self._life = asyncio.ensure_future(actor.serve.remote())
        log.info("leader_started", address=self.address, pid=pid, groups=[group.name for group in groups])
        return lost

    async def ended(self) -> float | None:
        if self._life is None:
            return None
        await asyncio.wait([self._life])
        if self._is_stopping:
            return None
        lived_s = monotonic() - self._began_s
        log.error("leader_lost", address=self.address, lived_s=lived_s, error=repr(self._life.exception()))
        end_actor(self._actor)
        return lived_s

    async def form(self, group: HostedGroup) -> None:
        await answer(self._actor.form.remote(group.name, group.config))

    async def load(self, group: HostedGroup, replica: Replica) -> float:
        return float(await answer(self._actor.load.remote(group.name, replica)))

    async def unload(self, group: HostedGroup, model: str) -> None:
        await answer(self._actor.unload.remote(group.name, model))

    async def dissolve(self, group: HostedGroup) -> None:
        await answer(self._actor.dissolve.remote(group.name))

    async def stop(self, timeout_s: float) -> None:
        self._is_stopping = True
        if self._life is not None:
            self._actor.stop.remote()
            await asyncio.wait([self._life], timeout=timeout_s)
            end_actor(self._actor)

    def leave_port(self) -> None:
        self._port = 0

    def _environment(self) -> dict[str, str]:
        """The process may use its devices only."""
        settings = self._settings
        if settings.executor != "jax":
            return {}
        environment = device_environment(len(self._local_devices), settings.platform)
        if settings.platform == "gpu":
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device in self._local_devices)
        return environment


async def resumed(actor: Any, group: HostedGroup) -> list[str]:
    """Form a group again with its replicas; the models that cannot be loaded any more, whatever the reason.

    Raises: GroupUnavailable if the process ends meanwhile.
    """
    await answer(actor.form.remote(group.name, group.config))
    lost = []
    for model, replica in group.replicas.items():
        try:
            await answer(actor.load.remote(group.name, replica))
        except GroupUnavailable:
            raise
        except AlpaServeError as error:
            log.error("replica_lost", group=group.name, model=model, error=str(error))
            lost.append(model)
        except RayTaskError:
            log.exception("replica_lost", group=group.name, model=model)
            lost.append(model)
    return lost
