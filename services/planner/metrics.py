"""What a planner tells Prometheus: its searches and transitions, and who is there of the system it looks after."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge, Histogram

from services.infra.background import repeating
from services.infra.placement_version import PLACEMENT_VERSION
from services.infra.store.connection import OUTAGES
from services.infra.store.members import MemberStore
from services.infra.store.placements import PlacementStore
from services.infra.store.queues import QueueStore

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
_BUCKETS_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0)

SEARCHES = Counter(
    "alpaserve_plan_searches",
    "Searches for calls of Plan and Explore and for what-ifs of the page, by what came of them.",
    ["result"],
)
SEARCH_SECONDS = Histogram(
    "alpaserve_plan_search_seconds", "How long those that found what was asked for took.", buckets=_BUCKETS_S
)
SIMULATIONS = Counter("alpaserve_plan_simulations", "Placements that these searches and controllers simulated.")
TRANSITIONS = Counter("alpaserve_transitions", "Transitions that ended, by result.", ["result"])
TRANSITION_SECONDS = Histogram("alpaserve_transition_seconds", "How long transitions took.", buckets=_BUCKETS_S)
WORKERS = Gauge("alpaserve_workers", "Workers that are alive.")
ROUTERS = Gauge("alpaserve_routers", "Routers that are alive.")
GROUPS = Gauge("alpaserve_groups", "Groups of the placement, by whether their leaders tell of themselves.", ["state"])

for found, ended in (("found", "applied"), ("failed", "failed")):
    SEARCHES.labels(found)
    TRANSITIONS.labels(ended)


class Search(Protocol):
    """What counts its simulations."""

    @property
    def num_simulations(self) -> int: ...


@contextmanager
def measured_search(search: Search) -> Iterator[None]:
    """A search that goes on while the block runs. One that its caller leaves is counted as failed."""
    began_s = monotonic()
    try:
        yield
    except BaseException:
        SEARCHES.labels("failed").inc()
        raise
    finally:
        SIMULATIONS.inc(search.num_simulations)
    SEARCHES.labels("found").inc()
    SEARCH_SECONDS.observe(monotonic() - began_s)


@contextmanager
def measured_transition() -> Iterator[None]:
    """A transition that is carried out while the block runs."""
    began_s = monotonic()
    try:
        yield
    except BaseException:
        TRANSITIONS.labels("failed").inc()
        raise
    TRANSITIONS.labels("applied").inc()
    TRANSITION_SECONDS.observe(monotonic() - began_s)


class Roll:
    """Calls the roll of the system every now and then; during an outage of Redis the last one stands."""

    def __init__(self, placements: PlacementStore, members: MemberStore, queues: QueueStore) -> None:
        self._placements = placements
        self._members = members
        self._queues = queues

    async def call(self) -> None:
        """For as long as this runs."""
        async for _ in repeating(LOOK_EVERY_S):
            try:
                await self._call_once()
            except OUTAGES as error:
                log.debug("roll_not_called", error=str(error))

    async def _call_once(self) -> None:
        current = await self._placements.current()
        states = await self._queues.get([group.name for group in current.groups])
        WORKERS.set(len(await self._members.workers()))
        ROUTERS.set(len(await self._members.router_versions()))
        PLACEMENT_VERSION.set(current.version)
        GROUPS.labels("alive").set(len(states))
        GROUPS.labels("silent").set(len(current.groups) - len(states))
