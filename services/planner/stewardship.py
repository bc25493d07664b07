"""Keeps the running placement what it should be: applies plans, and mends what broke."""

from dataclasses import replace

import structlog

from services.core.deployment import Deployment
from services.core.errors import AlpaServeError, InvalidPlacement, VersionConflict
from services.core.phasing import RATES_OVER_S, Rates
from services.core.placement import Placement
from services.core.steps import StepCosts
from services.infra.background import Completion, repeating
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.connection import OUTAGES
from services.infra.store.members import MemberStore, WorkerRecord
from services.infra.store.placements import PlacementStore
from services.infra.store.transitions import Experience, TransitionState, TransitionStore
from services.planner.catalog import Catalog
from services.planner.changes import Change, Target
from services.planner.cluster import LiveCluster
from services.planner.transitions import Applied, Transitions

log = structlog.get_logger()

# What steps take on workers of an executor until some were measured there: a jax group starts a process, loads from a
# disk and compiles; emulated devices load as over PCIe 3.
UNMEASURED = {
    "jax": StepCosts(load_bytes_per_s=1e9, form_s=5.0, switch_s=0.05),
    "emulated": StepCosts(load_bytes_per_s=12e9, form_s=0.05, switch_s=0.05),
}


class Stewardship:
    """Placements on global device ids in, running placements out."""

    def __init__(
        self,
        placements: PlacementStore,
        members: MemberStore,
        catalog: Catalog,
        transitions: Transitions,
        records: TransitionStore,
        arrivals: ArrivalStore,
    ) -> None:
        self._placements = placements
        self._members = members
        self._catalog = catalog
        self._transitions = transitions
        self._records = records
        self._arrivals = arrivals
        self._steps = Completion()
        self._missing: set[str] = set()

    async def wait(self) -> None:
        """Until no transition is under way here."""
        await self._steps.wait()

    async def cluster(self) -> LiveCluster:
        return LiveCluster(await self._members.workers())

    async def target(self, placement: Placement, policy: str, rates: Rates | None = None) -> Target:
        """All that running a placement needs. Raises: what `Target.check` raises."""
        models = await self._catalog.models()
        held = {model for group in placement.groups for model in group.models}
        current = await self._placements.current()
        running = {model for group in current.groups for model in group.replicas}
        concerned = [model for name, model in models.items() if name in held | running]
        profiles = await self._catalog.profiles_of(concerned)
        cluster = await self.cluster()
        costs = await self.step_costs(cluster)
        target = Target(placement, cluster, models, profiles, policy, costs, rates or await self.live_rates())
        target.check()
        return target

    async def step_costs(self, cluster: LiveCluster) -> dict[str, StepCosts]:
        """What the steps of transitions take on each worker, as measured there where any were."""
        known = await self._records.experience()
        return {
            worker.name: known.get(worker.name, Experience()).costs(UNMEASURED[worker.executor])
            for worker in cluster.workers
        }

    async def live_rates(self) -> Rates | None:
        """Requests per second of each model over the last minute; None without any."""
        counts = await self._arrivals.window(RATES_OVER_S)
        return {model: float(row.sum()) / RATES_OVER_S for model, row in counts.items()} or None

    async def preview(self, placement: Placement, rates: Rates | None = None) -> Change:
        """What applying a placement would change."""
        target = await self.target(placement, "", rates)
        return target.change(target.transition_from(await self._placements.current()))

    async def apply(
        self, placement: Placement, policy: str, expected_version: int | None, rates: Rates | None = None
    ) -> Applied:
        """Make a placement the running one. `rates` of the models, those of the last minute if None, decide which
        of them wait where memory is tight. Raises: what `Transitions.apply` raises.

        A caller that goes away does not stop a transition half-way.
        """
        target = await self.target(placement, policy, rates)
        return await self._steps.run(self._transitions.apply(target, expected_version))

    async def mend(self, every_s: float) -> None:
        """Form again what a worker lost, and end what a failed transition left, for as long as the planner runs."""
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
        if missing or await self._placements.is_leased():
            return
        was_cut_off = await self._was_cut_off()
        if not current.is_settled:
            await self._go_back(current)
        elif not placed_on:
            return
        elif was_cut_off or not await self._is_as_published(current, workers):
            log.warning("placement_broken", placement_version=current.version)
            await self.apply(current.placement(), current.policy, current.version)

    async def _is_as_published(self, current: Deployment, workers: tuple[WorkerRecord, ...]) -> bool:
        """Whether all of the placement runs; after a transition that failed, also whether nothing else holds memory."""
        if not await self._transitions.is_whole(current, workers):
            return False
        last = await self._records.last()
        if last is None or last.state is not TransitionState.FAILED:
            return True
        return not await self._transitions.has_leftovers(current, workers)

    async def _was_cut_off(self) -> bool:
        """Whether the last transition lost its planner half-way: it is on record as running, and its lease is gone."""
        record = await self._records.last()
        if record is None or record.state is not TransitionState.RUNNING or await self._placements.is_leased():
            return False
        if await self._records.last() != record:
            return False
        log.warning("transition_cut_off", transition=record.number, placement_version=record.version)
        await self._records.put(replace(record, state=TransitionState.CUT_OFF))
        return True

    async def _go_back(self, current: Deployment) -> None:
        """Return to where a transition started that ended half-way; go on to where it led if that was its first."""
        try:
            settled = await self._placements.settled_before(current.version)
        except InvalidPlacement:
            if (record := await self._records.last()) is not None:
                log.warning("transition_resumed", placement_version=current.version, transition=record.number)
                await self.apply(record.target, record.policy, current.version)
            return
        log.warning("transition_undone", placement_version=current.version, settled_version=settled.version)
        await self.apply(settled.placement(), settled.policy, current.version)
