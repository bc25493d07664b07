"""The groups of the placement that is followed: a view of their queues, and a link to each."""

import asyncio
from collections.abc import Set as AbstractSet
from time import monotonic

import structlog
from alpaserve.v1 import leader_pb2

from services.core.deployment import DeployedGroup, Deployment
from services.infra.security.links import NO_CREDENTIALS, Credentials
from services.router.link import GroupLink
from services.router.view import PlacementView, Report

log = structlog.get_logger()

UNREACHED_WAIT_S = 1.0


class Groups:
    """One link per group, over the current view."""

    def __init__(self, router: str, max_message_bytes: int, credentials: Credentials = NO_CREDENTIALS) -> None:
        self._router = router
        self._max_message_bytes = max_message_bytes
        self._credentials = credentials
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._links: dict[str, GroupLink] = {}
        self._unreachable: set[str] | None = None
        self._followed = asyncio.Event()
        self.view = PlacementView(Deployment())

    async def follow(self, deployment: Deployment) -> None:
        """Serve under a placement from now on; what is under way ends where it is.

        A store that came back empty takes no placement away: the groups run on.
        """
        if not deployment.version and self.view.deployment.version:
            log.warning("placement_missing", placement_version=self.view.deployment.version)
            return
        for group in deployment.groups:
            if group.name not in self._links:
                link = self._links[group.name] = self._new_link(group)
                self._tasks[group.name] = asyncio.create_task(link.run())
        view = PlacementView(deployment, monotonic())
        new = [self._links[name] for name in view.names if name not in self.view.groups]
        await asyncio.gather(*(link.opened(UNREACHED_WAIT_S) for link in new))
        view.inherit(self.view, monotonic())
        self.view = view
        self._followed.set()
        self._followed = asyncio.Event()
        for name in [name for name in self._links if name not in view.groups]:
            self._links.pop(name).close()
        self._forget_reachability()
        self._tasks = {name: task for name, task in self._tasks.items() if not task.done()}
        log.info("placement_followed", placement_version=deployment.version, num_groups=len(view.groups))

    async def close(self) -> None:
        """End every link."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def report(self, state: leader_pb2.QueueState) -> None:
        """Take a leader's clocks."""
        report = Report(state.free_in_s, state.num_in_flight, state.received.get(self._router, 0))
        self.view.report(state.group, report, monotonic())

    async def next_view(self) -> None:
        """Until another placement is followed."""
        await self._followed.wait()

    def link(self, group: str) -> GroupLink:
        return self._links[group]

    def unreachable(self) -> AbstractSet[str]:
        """The groups whose leaders cannot be asked now."""
        if self._unreachable is None:
            self._unreachable = {name for name, link in self._links.items() if not link.is_open}
        return self._unreachable

    def _new_link(self, group: DeployedGroup) -> GroupLink:
        return GroupLink(group, self._router, self._max_message_bytes, self._forget_reachability, self._credentials)

    def _forget_reachability(self) -> None:
        self._unreachable = None
