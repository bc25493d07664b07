"""A leader that dies, and comes back, when a test says so."""

import asyncio
from collections.abc import Mapping, Sequence

from services.core.errors import GroupUnavailable
from services.worker.actors import HostedGroup
from services.worker.leader.executor import Replica
from services.worker.leader.tally import GroupTally
from services.worker.settings import WorkerSettings


class MortalLeader:
    """Notes what is asked of it. Each start takes the next of `fates`: whether it succeeds; without fates it does.
    `gate` holds starts up while it is closed."""

    def __init__(self, settings: WorkerSettings, local_devices: Sequence[int]) -> None:
        self.turn = asyncio.Lock()
        self.address = ""
        self.tallies: Mapping[str, GroupTally] = {}
        self.fates: list[bool] = []
        self.unloadable: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.started: list[dict[str, list[str]]] = []
        self._port = 0
        self._num_ports = 0
        self._life: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()

    def die(self, lived_s: float = 1.0) -> None:
        self._life.set_result(lived_s)

    async def start(self, groups: Sequence[HostedGroup]) -> list[tuple[HostedGroup, str]]:
        await self.gate.wait()
        self.started.append({group.name: sorted(group.replicas) for group in groups})
        if self.fates and not self.fates.pop(0):
            raise GroupUnavailable("a leader cannot be started")
        if not self._port:
            self._num_ports += 1
            self._port = self._num_ports
        self.address = f"here:{self._port}"
        self._life = asyncio.get_running_loop().create_future()
        return [(group, model) for group in groups for model in group.replicas if model in self.unloadable]

    async def ended(self) -> float | None:
        return await asyncio.shield(self._life)

    async def form(self, group: HostedGroup) -> None:
        self._ask(f"form {group.name}")

    async def load(self, group: HostedGroup, replica: Replica) -> float:
        self._ask(f"load {group.name} {replica.model.name}")
        return 0.5

    async def unload(self, group: HostedGroup, model: str) -> None:
        self._ask(f"unload {group.name} {model}")

    async def dissolve(self, group: HostedGroup) -> None:
        self._ask(f"dissolve {group.name}")

    async def stop(self, timeout_s: float) -> None:
        self.asked.append("stop")
        if not self._life.done():
            self._life.set_result(None)

    def leave_port(self) -> None:
        self._port = 0

    def _ask(self, step: str) -> None:
        self.asked.append(step)
        if self._life.done():
            raise GroupUnavailable("an actor is gone")
