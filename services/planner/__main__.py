"""alpaserve-planner: decides what runs where, and changes it under traffic."""

import structlog
import uvloop
from alpaserve.v1 import planner_pb2, planner_pb2_grpc
from redis.asyncio import Redis

from services.infra.background import background, repeating
from services.infra.logs import configure_logs
from services.infra.server import Server, stop_signal
from services.infra.settings import load_settings
from services.infra.store.activity import ActivityStore
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.connection import OUTAGES, connect
from services.infra.store.decisions import DecisionStore
from services.infra.store.members import HEARTBEAT_S, MemberStore
from services.infra.store.placements import PlacementStore
from services.infra.store.pulse import feel_pulse
from services.infra.store.queues import QueueStore
from services.infra.store.registry import ModelStore, ProfileStore
from services.infra.store.transitions import TransitionStore
from services.planner.catalog import Catalog
from services.planner.cluster import WorkerStubs
from services.planner.decisions import Decisions
from services.planner.metrics import Roll
from services.planner.planning import Planning
from services.planner.pools import Pools
from services.planner.posing import Posing
from services.planner.replacement import Replacement
from services.planner.replacement_facts import FactReader
from services.planner.residence import Residence
from services.planner.servicer import PlannerServicer
from services.planner.settings import PlannerSettings
from services.planner.status import StatusReader
from services.planner.stewardship import Stewardship
from services.planner.transitions import Transitions
from services.planner.web.opening import Page
from services.planner.web.running import RunningReader
from services.planner.workers import Workers
from services.planner.workloads import WorkloadSource

log = structlog.get_logger()


async def announce(members: MemberStore, address: str) -> None:
    """Tell routers where to ask for placements."""
    async for _ in repeating(HEARTBEAT_S):
        try:
            await members.announce_planner(address)
        except OUTAGES as error:
            log.warning("planner_not_announced", error=str(error))


async def serve(settings: PlannerSettings) -> None:
    """Until a signal to stop; what is opened for it is closed."""
    redis, stubs = connect(settings.store), WorkerStubs(settings)
    pools = Pools(settings.ray_address, settings.ray_from_size)
    await serve_with(settings, redis, stubs, pools)
    pools.close()
    await stubs.close()
    await redis.aclose()


async def serve_with(settings: PlannerSettings, redis: Redis, stubs: WorkerStubs, pools: Pools) -> None:
    stopping = stop_signal()
    placements, members, arrivals = PlacementStore(redis), MemberStore(redis), ArrivalStore(redis)
    catalog = Catalog(ModelStore(redis), ProfileStore(redis), placements, settings.models_dir)
    records = TransitionStore(redis)
    workers = Workers(stubs, members, settings.step_timeout_s)
    transitions = Transitions(placements, members, workers, records)
    stewardship = Stewardship(placements, members, catalog, transitions, records, arrivals)
    posing = Posing(catalog, WorkloadSource(arrivals, settings.live_window_s))
    planning = Planning(settings, posing, stewardship, placements, pools)
    status = StatusReader(placements, members, QueueStore(redis), arrivals, ActivityStore(redis))
    reader = FactReader(settings, placements, catalog, stewardship, arrivals)
    replacement = Replacement(settings, reader, stewardship, DecisionStore(redis), pools)
    roll = Roll(placements, members, QueueStore(redis))
    decisions = Decisions(DecisionStore(redis), replacement)
    residence = Residence(stewardship, placements, catalog)
    servicer = PlannerServicer(planning, stewardship, residence, placements, catalog, status, records, decisions)
    running = RunningReader(placements, members, catalog, status, arrivals)
    page = Page(settings, running, planning, posing, stewardship, DecisionStore(redis)) if settings.page_port else None
    pages = (page.serve(),) if page is not None else ()
    server = Server(settings, "planner")
    server.add(servicer, planner_pb2_grpc.add_PlannerServicer_to_server, planner_pb2.DESCRIPTOR, "Planner")
    await server.start()
    async with background(
        stewardship.mend(settings.heal_every_s),
        replacement.run(),
        announce(members, server.address),
        roll.call(),
        feel_pulse(redis),
        *pages,
    ):
        await stopping.wait()
        await members.withdraw_planner()
        replacement.close()
        await server.drain()
        await replacement.wait()
        await stewardship.wait()
    await server.stop()


def main() -> None:
    settings = load_settings(PlannerSettings, "alpaserve-planner: decides what runs where.")
    configure_logs("planner", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
