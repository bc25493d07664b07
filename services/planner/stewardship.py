"""Keeps the running placement what it should be: applies plans, and mends what broke."""

import structlog

from services.core.deployment import Deployment
from services.core.errors import AlpaServeError, VersionConflict
from services.core.placement import Placement
from services.infra.background import Completion, repeating
from services.infra.store.connection import OUTAGES
from services.infra.store.members import MemberStore
from services.infra.store.placements import PlacementStore
from services.planner.catalog import Catalog
from services.planner.changes import Change, Target
from services.planner.cluster import LiveCluster
from services.planner.transitions import Applied, Transitions

log = structlog.get_logger()


class Stewardship:
    """Placements on global device ids in, running placements out."""

    def __init__(
        self, placements: PlacementStore, members: MemberStore, catalog: Catalog, transitions: Transitions
    ) -> None:
        self._placements = placements
        self._members = members
        self._catalog = catalog
        self._transitions = transitions
        self._steps = Completion()
        self._missing: set[str] = set()

    async def wait(self) -> None:
        """Until no transition is under way here."""
        await self._steps.wait()

    async def cluster(self) -> LiveCluster:
        return LiveCluster(await self._members.workers())

    async def target(self, placement: Placement, policy: str) -> Target:
        """All that running a placement needs. Raises: what `Target.check` raises."""
        models = await self._catalog.models()
        held = {model for group in placement.groups for model in group.models}
        current = await self._placements.current()
        running = {model for group in current.groups for model in group.replicas}
        concerned = [model for name, model in models.items() if name in held | running]
        profiles = await self._catalog.profiles_of(concerned)
        target = Target(placement, await self.cluster(), models, profiles, policy)
        target.check()
        return target

    async def preview(self, placement: Placement) -> Change:
        """What applying a placement would change."""
        target = await self.target(placement, "")
        return target.change(target.transition_from(await self._placements.current()))

    async def apply(self, placement: Placement, policy: str, expected_version: int | None) -> Applied:
        """Make a placement the running one. Raises: what `Transitions.apply` raises.

        A caller that goes away does not stop a transition half-way.
        """
        target = await self.target(placement, policy)
        return await self._steps.run(self._transitions.apply(target, expected_version))

    async def mend(self, every_s: float) -> None:
        """Form again what a worker lost, for as long as the planner runs."""
        async for _ in repeating(every_s):
            try:
                await self._mend_once()
            except VersionConflict:
                continue
            except (AlpaServeError, *OUTAGES) as error:
                log.warning("placement_not_mended", error=str(error))

    async def _mend_once(self) -> None:
        current = await self._placements.current()
        workers = tuple(await self._members.workers())
        placed_on = {group.worker for group in current.groups}
        missing = placed_on - {worker.name for worker in workers}
        if missing and missing != self._missing:
            log.warning("workers_missing", workers=sorted(missing), placement_version=current.version)
        self._missing = missing
        if not placed_on or missing:
            return
        if not current.is_settled:
            await self._finish(current)
        elif not await self._transitions.is_whole(current, workers):
            log.warning("placement_broken", placement_version=current.version)
            await self.apply(current.placement(), current.policy, current.version)

    async def _finish(self, current: Deployment) -> None:
        """Go back to where a transition started that was cut off half-way: its lease is gone."""
        if not await self._placements.is_leased():
            log.warning("transition_cut_off", placement_version=current.version)
            settled = await self._placements.settled_before(current.version)
            await self.apply(settled.placement(), settled.policy, current.version)
