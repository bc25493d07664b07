"""Placements that follow the traffic: looks at it over and over, decides, and where it may applies the decision.

One look at a time, and no decision is made while a transition is under way; one that is applied holds only for the
placement it was made for.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from services.core.deployment import Deployment
from services.core.errors import AlpaServeError, VersionConflict
from services.infra.background import Completion, repeating
from services.infra.store.connection import OUTAGES
from services.infra.store.decisions import DecisionRecord, DecisionStore, Outcome
from services.planner.cluster import LiveCluster
from services.planner.controllers.controllers import make_controller
from services.planner.controllers.deciding import decide
from services.planner.controllers.decision import Decision, Running, Verdict
from services.planner.controllers.setting import Effort
from services.planner.metrics import SIMULATIONS
from services.planner.pools import Pools
from services.planner.replacement_facts import FactReader, Facts
from services.planner.replacement_memory import Memory, begun
from services.planner.replacement_records import Circumstances, Fate, decision_record, failed_record, measure
from services.planner.settings import PlannerSettings
from services.planner.stewardship import Stewardship

log = structlog.get_logger()

# A controller that acts when something happens is asked more often than it may act.
_LOOKS_PER_DECISION = 20
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.1, 30.0
_IDLE = (Verdict.NOT_DUE, Verdict.RESTING)


class Replacement:
    """The loop. `num_idle_looks` since the last decision gave no reason to decide."""

    def __init__(
        self,
        settings: PlannerSettings,
        reader: FactReader,
        stewardship: Stewardship,
        decisions: DecisionStore,
        pools: Pools,
    ) -> None:
        self.mode = settings.replace_mode
        self.num_idle_looks = 0
        self._settings = settings
        self._controller = make_controller(settings.controller, settings.replace_every_s)
        self._reader = reader
        self._stewardship = stewardship
        self._decisions = decisions
        self._pools = pools
        self._looks = Completion()
        self._memory: Memory | None = None
        self._remembered_of: tuple[int, tuple[int, ...]] | None = None
        self._is_recalled = False
        self._last_verdict: Verdict | None = None
        self._rests_until_s = 0.0
        self._is_closed = False

    @property
    def controller(self) -> str:
        return self._controller.name

    async def run(self) -> None:
        """For as long as the planner runs."""
        if self.mode == "off":
            return
        pause_s = min(max(self._settings.replace_every_s / _LOOKS_PER_DECISION, _LEAST_PAUSE_S), _MOST_PAUSE_S)
        log.info("traffic_followed", mode=self.mode, controller=self.controller, pause_s=pause_s)
        async for _ in repeating(pause_s):
            if not self._is_closed:
                await self._looks.run(self._look())

    def close(self) -> None:
        """Look no more; a search under way ends soon, and nothing is applied for it."""
        self._is_closed = True

    async def wait(self) -> None:
        """Until no look is under way."""
        await self._looks.wait()

    async def _look(self) -> None:
        """Whatever goes wrong is told, and the next look comes; after a failure of our own not at once."""
        began_s, now_s = time.monotonic(), time.time()
        try:
            if now_s < self._rests_until_s or not await self._decided():
                self.num_idle_looks += 1
        except OUTAGES as error:
            log.warning("replacement_not_decided", error=str(error))
        except AlpaServeError as error:
            await self._failed(now_s, str(error), began_s)
        except Exception as error:
            log.error("replacement_failed", controller=self.controller, exc_info=error)
            await self._failed(now_s, "internal error", began_s)

    async def _failed(self, now_s: float, error: str, began_s: float) -> None:
        self._rests_until_s = now_s + self._settings.replace_every_s
        await self._keep(failed_record(now_s, self.controller, error, self._circumstances(began_s)))

    async def _decided(self) -> bool:
        """Whether there was a reason to decide."""
        facts = await self._reader.read(self._is_due)
        if facts is None:
            return False
        running = await self._running(facts)
        began_s = time.monotonic()
        decision = await asyncio.to_thread(
            decide, facts.setting, self._controller, facts.observation, running, self._effort(facts)
        )
        SIMULATIONS.inc(decision.num_simulations)
        self._remembered_of = facts.current.version, facts.live.devices
        is_repeated = decision.verdict is self._last_verdict
        self._last_verdict = decision.verdict
        if decision.verdict is Verdict.NOT_DUE or (decision.verdict in _IDLE and is_repeated):
            return False
        circumstances = self._circumstances(began_s)
        fate = await self._carried_out(facts, decision)
        is_applied = fate.outcome is Outcome.APPLIED
        await self._remember(Memory.of(facts, running.after(decision) if is_applied else running.looked(decision)))
        await self._keep(decision_record(decision, facts, fate, circumstances))
        return True

    def _is_due(self, current: Deployment, live: LiveCluster) -> bool:
        """Whether a look may come to anything; traffic is read only then."""
        if self._memory is None or self._remembered_of != (current.version, live.devices):
            return True
        return self._controller.is_due(time.time(), self._memory.running)

    async def _running(self, facts: Facts) -> Running:
        """What is known of the running placement; what was not known before is remembered."""
        if not self._is_recalled:
            self._memory = await self._recalled()
            self._is_recalled = True
        known = self._memory
        running = await asyncio.to_thread(begun if known is None else known.under, facts)
        if known is None or running.since_s != known.running.since_s or known.names != facts.observation.names:
            await self._remember(Memory.of(facts, running))
        return running

    async def _recalled(self) -> Memory | None:
        document = await self._decisions.memory()
        try:
            return None if document is None else Memory.load(document)
        except ValueError as error:
            log.warning("memory_not_understood", error=str(error))
            return None

    async def _remember(self, memory: Memory) -> None:
        self._memory = memory
        try:
            await self._decisions.remember(memory.dump())
        except OUTAGES as error:
            log.warning("memory_not_kept", error=str(error))

    def _effort(self, facts: Facts) -> Effort:
        share_of_time = SearchTime(self._settings.time_budget_s, lambda: self._is_closed).share
        return Effort(seed=int(facts.observation.now_s), share_of_time=share_of_time, pool=self._pools.threads)

    async def _carried_out(self, facts: Facts, decision: Decision) -> Fate:
        """Apply a decision that is to be; one that cannot be is no reason to stop looking."""
        if not decision.taken or decision.candidate is None:
            return Fate(Outcome.KEPT)
        if self.mode != "auto":
            return Fate(Outcome.ADVISED)
        if self._is_closed:
            return Fate(Outcome.REFUSED, "the planner is going away")
        expected = decision.traffic.expected_per_s
        rates = None if expected is None else dict(zip(decision.traffic.names, expected.tolist(), strict=True))
        placement, version = facts.live.numbered(decision.candidate), facts.current.version
        try:
            applied = await self._stewardship.apply(placement, f"{self.controller} controller", version, rates)
        except VersionConflict as error:
            return Fate(Outcome.REFUSED, str(error))
        except (AlpaServeError, *OUTAGES) as error:
            return Fate(Outcome.FAILED, str(error))
        except Exception as error:
            log.error("replacement_not_applied", placement_version=version, exc_info=error)
            return Fate(Outcome.FAILED, "internal error")
        predicted_s = applied.change.schedule.end_s
        return Fate(Outcome.APPLIED, "", applied.deployment.version, predicted_s, applied.transition_s)

    def _circumstances(self, began_s: float) -> Circumstances:
        return Circumstances(self.mode, time.monotonic() - began_s, self.num_idle_looks)

    async def _keep(self, record: DecisionRecord) -> None:
        """On record, in the log and as metrics; without a store only the latter."""
        log.info(
            "replacement_decided",
            controller=record.controller,
            verdict=record.verdict,
            outcome=record.outcome,
            reason=record.reason,
            placement_version=record.applied_version or record.base_version,
            error=record.error,
        )
        measure(record)
        self.num_idle_looks = 0
        try:
            await self._decisions.add(record)
        except OUTAGES as error:
            log.warning("decision_not_kept", error=str(error))


class SearchTime:
    """What share of a budget is gone since it was first asked for; all of it once its search is to end."""

    def __init__(self, budget_s: float, is_ended: Callable[[], bool]) -> None:
        self._budget_s = budget_s
        self._is_ended = is_ended
        self._began_s: float | None = None

    def share(self) -> float:
        if self._is_ended():
            return 1.0
        if self._began_s is None:
            self._began_s = time.monotonic()
        return (time.monotonic() - self._began_s) / self._budget_s
