"""A process that leads groups: one for a group with real devices, one for all emulated groups of a worker.

Its class is run as a Ray actor; the worker is its only caller.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from time import monotonic

import structlog

from services.core.errors import InvalidPlacement
from services.core.profile import ParallelConfig
from services.core.signature import Signature
from services.infra.background import background, repeating
from services.infra.logs import configure_logs
from services.infra.server import settle_memory
from services.infra.store.activity import ActivityStore, Busyness
from services.infra.store.connection import OUTAGES, connect
from services.infra.store.queues import PUBLISH_EVERY_S, QueueStore
from services.infra.store.signatures import SignatureStore
from services.infra.tracing import start_tracing
from services.worker.leader.dataplane import DataPlane
from services.worker.leader.emulated import EmulatedExecutor
from services.worker.leader.executor import Executor, Replica
from services.worker.leader.group import GroupLeader
from services.worker.leader.tally import GroupTally
from services.worker.settings import WorkerSettings

log = structlog.get_logger()

HEARTBEAT_S, REPORT_EVERY_S, TELL_WITHIN_S = 0.5, 1.0, 1.0


@dataclass(slots=True)
class LedGroup:
    """A group and what must be closed with it."""

    leader: GroupLeader
    stack: AsyncExitStack
    published_events: int = -1
    published_at_s: float = 0.0
    looked_at_s: float = field(default_factory=monotonic)
    busy_s: tuple[float, ...] = ()

    def busyness(self) -> Busyness:
        """How busy the stages were since the last call."""
        now_s, before_s, before = monotonic(), self.looked_at_s, self.busy_s
        self.looked_at_s, self.busy_s = now_s, self.leader.clocks.busy_s(now_s)
        return Busyness(now_s - before_s, [now - then for now, then in zip_longest(self.busy_s, before, fillvalue=0.0)])


class LeaderProcess:
    """Leads groups and serves their data plane on one port."""

    def __init__(self, settings: WorkerSettings) -> None:
        configure_logs("leader", settings.log_level)
        self._settings = settings
        self._groups: dict[str, LedGroup] = {}
        self._leaders: dict[str, GroupLeader] = {}
        self._tracing = start_tracing(settings, "leader")
        self._plane = DataPlane(self._leaders, settings.max_message_bytes, settings.entrance(), self._tracing)
        self._stopping = asyncio.Event()

    async def answers(self) -> tuple[GroupTally, ...]:
        """Return at once: this process does not hang, and has counted this."""
        return tuple(leader.tally() for leader in self._leaders.values())

    async def open(self, port: int) -> str:
        """Let routers in, at a port of this host (0: a free one); returns the address.

        Raises: OSError if the port is taken.
        """
        taken = await self._plane.open(self._settings.host, port)
        settle_memory()
        return f"{self._settings.reachable_host}:{taken}"

    async def serve(self) -> None:
        """Publish queue states until `stop`; what was admitted then has `drain_s` to finish."""
        redis = connect(self._settings.store)
        async with background(self._publish(QueueStore(redis)), self._report(ActivityStore(redis))):
            await self._stopping.wait()
            for leader in self._leaders.values():
                leader.refuse_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_s):
                    await asyncio.gather(*(leader.drained() for leader in self._leaders.values()))
            await self._plane.close()
        for name in list(self._groups):
            await self.dissolve(name)
        await redis.aclose()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)

    async def stop(self) -> None:
        self._stopping.set()

    async def form(self, name: str, config: ParallelConfig, local_devices: tuple[int, ...] = ()) -> None:
        """Start leading a group on these devices of the host. The same name again changes nothing."""
        if name in self._groups:
            return
        leader = GroupLeader(name, config.inter_op, self._executor(config), self._settings.queue_limit)
        leader.local_devices = local_devices
        stack = AsyncExitStack()
        await stack.enter_async_context(leader)
        self._groups[name] = LedGroup(leader, stack)
        self._leaders[name] = leader
        log.info("group_formed", group=name, config=str(config))

    async def load(self, group: str, replica: Replica) -> float:
        """Load a replica; returns the seconds it took. Raises: InvalidPlacement, InvalidModel."""
        began_s = monotonic()
        leader = self._leader(group)
        await leader.load(replica)
        signature = leader.signature(replica.model.name)
        if signature is not None:
            await self._tell(replica.model.name, signature)
        log.info("model_loaded", group=group, model=replica.model.name, load_time_s=monotonic() - began_s)
        return monotonic() - began_s

    async def unload(self, group: str, model: str) -> None:
        await self._leader(group).unload(model)
        log.info("model_unloaded", group=group, model=model)

    async def dissolve(self, name: str) -> None:
        """Let what was admitted finish, then end the group. An unknown name changes nothing."""
        group = self._groups.pop(name, None)
        if group is None:
            return
        group.leader.refuse_all()
        await group.leader.drained()
        await group.stack.aclose()
        del self._leaders[name]
        self._plane.forget(name)
        log.info("group_dissolved", group=name)

    async def _tell(self, model: str, signature: Signature) -> None:
        """A store that is away has it from an earlier load, or lacks what nobody needs to serve."""
        redis = connect(self._settings.store)
        try:
            async with asyncio.timeout(TELL_WITHIN_S):
                await SignatureStore(redis).put(model, signature)
        except OUTAGES as error:
            log.warning("signature_not_stored", model=model, error=str(error))
        finally:
            await redis.aclose()

    def _leader(self, name: str) -> GroupLeader:
        leader = self._leaders.get(name)
        if leader is None:
            raise InvalidPlacement(f"group {name!r} is not led here")
        return leader

    def _executor(self, config: ParallelConfig) -> Executor:
        if self._settings.executor == "emulated":
            return EmulatedExecutor(config.inter_op)
        from services.worker.leader.jax_executor import JaxExecutor

        return JaxExecutor(config, self._settings.compiled_dir)

    async def _publish(self, queues: QueueStore) -> None:
        async for _ in repeating(PUBLISH_EVERY_S):
            now_s = monotonic()
            due = [
                group
                for group in self._groups.values()
                if group.published_events != group.leader.num_events or now_s - group.published_at_s > HEARTBEAT_S
            ]
            if not due:
                continue
            try:
                await queues.publish(self._plane.queue_state(group.leader) for group in due)
            except OUTAGES as error:
                log.warning("queue_state_not_published", error=str(error))
                await asyncio.sleep(HEARTBEAT_S)
            for group in due:
                group.published_events, group.published_at_s = group.leader.num_events, now_s

    async def _report(self, activity: ActivityStore) -> None:
        async for _ in repeating(REPORT_EVERY_S):
            busyness = {name: group.busyness() for name, group in self._groups.items()}
            try:
                await activity.record_busyness(busyness)
            except OUTAGES as error:
                log.warning("busy_time_not_recorded", error=str(error))
