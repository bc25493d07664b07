"""The processes of leaders on a host, each a Ray actor: one for each group with real devices, one for all
emulated groups. They may end at any time, and come back at the same address."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

import structlog
from ray.exceptions import RayTaskError

from services.core.errors import AlpaServeError, GroupUnavailable
from services.core.profile import ParallelConfig
from services.infra.background import background, cancelled
from services.infra.ray_cluster import answer, end_actor, make_mortal, start_actor
from services.parallel.environment import device_environment
from services.worker.leader.executor import Replica
from services.worker.leader.process import LeaderProcess
from services.worker.leader.tally import GroupTally
from services.worker.settings import WorkerSettings
from services.worker.silence import silence

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

    @property
    def tally(self) -> GroupTally | None:
        """What its leader counted until its last answer; None while there is none that answers."""
        return self.leader.tallies.get(self.name)


class Leader(Protocol):
    """A process of leaders through all its lives. Who asks anything of it holds its `turn`."""

    turn: asyncio.Lock
    address: str
    tallies: Mapping[str, GroupTally]

    async def start(self, groups: Sequence[HostedGroup]) -> list[tuple[HostedGroup, str]]:
        """Start the process and let it lead these groups; routers get in when all is loaded. Returns the
        (group, model) that cannot be loaded any more.

        Raises: GroupUnavailable if it does not get that far; no process is left then.
        """

    async def ended(self) -> float | None:
        """Wait for the end of the process, and end it if it hangs; the seconds it lived, or None if it was told to
        stop."""

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
    """A leader as a Ray actor of this host. `kind` is the class that runs."""

    def __init__(
        self, settings: WorkerSettings, local_devices: Sequence[int], kind: type[LeaderProcess] = LeaderProcess
    ) -> None:
        self.turn = asyncio.Lock()
        self.address = ""
        self.tallies: Mapping[str, GroupTally] = {}
        self._settings = settings
        self._local_devices = local_devices
        self._kind = kind
        self._port = 0
        self._actor: Any = None
        self._pid: int | None = None
        self._life: asyncio.Future[None] | None = None
        self._began_s = 0.0
        self._is_stopping = False

    async def start(self, groups: Sequence[HostedGroup]) -> list[tuple[HostedGroup, str]]:
        self._actor = self._pid = None
        try:
            self._actor = await asyncio.to_thread(start_actor, self._kind, self._environment(), self._settings)
            async with background(self._refuse_silence()):
                lost = await self._prepare(groups)
        except BaseException as error:
            self._end()
            if isinstance(error, AlpaServeError) or not isinstance(error, Exception):
                raise
            raise GroupUnavailable(f"a leader cannot be started: {error}") from error
        self._port = int(self.address.rpartition(":")[2])
        self._began_s = monotonic()
        self._life = asyncio.ensure_future(self._actor.serve.remote())
        log.info("leader_started", address=self.address, pid=self._pid, groups=[group.name for group in groups])
        return lost

    async def _prepare(self, groups: Sequence[HostedGroup]) -> list[tuple[HostedGroup, str]]:
        self._pid = await make_mortal(self._actor)
        lost = [(group, model) for group in groups for model in await resumed(self._actor, group)]
        self.address = await answer(self._actor.open.remote(self._port))
        return lost

    async def ended(self) -> float | None:
        if self._life is None:
            return None
        hanging = asyncio.create_task(self._silence())
        await asyncio.wait([self._life, hanging], return_when=asyncio.FIRST_COMPLETED)
        if self._is_stopping:
            await asyncio.wait([self._life])
        await cancelled([hanging])
        if self._is_stopping:
            return None
        lived_s = monotonic() - self._began_s
        how = repr(self._life.exception()) if self._life.done() else "no answer"
        log.error("leader_lost", address=self.address, pid=self._pid, lived_s=lived_s, error=how)
        self._end()
        return lived_s

    async def _silence(self) -> None:
        """Until the process hangs, or is gone. What it does beside serving may keep it from answering for a while."""
        settings = self._settings
        await silence(
            self._ask,
            lambda: settings.loading_hang_s if self.turn.locked() else settings.hang_s,
        )

    async def _ask(self) -> None:
        self.tallies = {tally.group: tally for tally in await self._actor.answers.remote()}

    async def _refuse_silence(self) -> None:
        """Raises: GroupUnavailable once the process hangs, or is gone."""
        await self._silence()
        raise GroupUnavailable("a leader hangs or is gone before it serves")

    def _end(self) -> None:
        self.tallies = {}
        if self._actor is not None:
            end_actor(self._actor, self._pid)

    async def form(self, group: HostedGroup) -> None:
        await answer(self._actor.form.remote(group.name, group.config, group.local_devices))

    async def load(self, group: HostedGroup, replica: Replica) -> float:
        return float(await answer(self._actor.load.remote(group.name, replica)))

    async def unload(self, group: HostedGroup, model: str) -> None:
        await answer(self._actor.unload.remote(group.name, model))

    async def dissolve(self, group: HostedGroup) -> None:
        await answer(self._actor.dissolve.remote(group.name))

    async def stop(self, timeout_s: float) -> None:
        self._is_stopping = True
        # While it is started again, there may be no process, and the life is the one before.
        if self._actor is not None and self._life is not None and not self._life.done():
            self._actor.stop.remote()
            await asyncio.wait([self._life], timeout=timeout_s)
        self._end()

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
    await answer(actor.form.remote(group.name, group.config, group.local_devices))
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
