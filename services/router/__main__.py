"""alpaserve-router: the door for clients."""

import uuid
from contextlib import suppress

import structlog
import uvloop
from alpaserve.v1 import router_pb2
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.infra.background import background, repeating
from services.infra.logs import configure_logs
from services.infra.placement_version import PLACEMENT_VERSION
from services.infra.server import Server, stop_signal
from services.infra.settings import load_settings
from services.infra.store.activity import ActivityStore
from services.infra.store.arrivals import ArrivalStore
from services.infra.store.connection import OUTAGES, connect, reached
from services.infra.store.members import HEARTBEAT_S, MemberStore
from services.infra.store.placements import PlacementStore
from services.infra.store.pulse import feel_pulse
from services.infra.store.queues import QueueStore
from services.infra.store.registry import ModelStore
from services.router.dispatcher import Dispatcher
from services.router.door import Door
from services.router.groups import Groups
from services.router.holdings import Holdings
from services.router.oip.contract import add_inference, public_file
from services.router.oip.repository import Repository
from services.router.oip.servicer import InferenceServicer
from services.router.oip.statistics import Statistics
from services.router.servicer import RouterServicer, add_router
from services.router.settings import RouterSettings

log = structlog.get_logger()


async def follow_placements(
    dispatcher: Dispatcher, repository: Repository, placements: PlacementStore, members: MemberStore, name: str
) -> None:
    """Serve under every new placement, and say so at once: the planner waits for it."""
    async for deployment in placements.watch():
        await repository.refresh()
        await dispatcher.groups.follow(deployment)
        try:
            await members.announce_router(name, deployment.version)
        except OUTAGES as error:
            log.warning("router_not_announced", error=str(error))


async def follow_queues(dispatcher: Dispatcher, queues: QueueStore) -> None:
    async for state in queues.watch():
        dispatcher.groups.report(state)


async def report_requests(dispatcher: Dispatcher, redis: Redis, members: MemberStore, name: str) -> None:
    """Off the request's path, once a heartbeat."""
    arrivals, activity = ArrivalStore(redis), ActivityStore(redis)
    async for _ in repeating(HEARTBEAT_S):
        counts, deadlines = dispatcher.requests.news()
        try:
            await members.announce_router(name, dispatcher.groups.view.deployment.version)
            await arrivals.record(counts)
            await activity.record_deadlines(deadlines)
        except OUTAGES as error:
            log.warning("requests_not_recorded", num_arrivals=sum(counts.values()), error=str(error))


async def serve(settings: RouterSettings) -> None:
    stopping = stop_signal()
    name = settings.router_name or uuid.uuid4().hex[:12]
    redis = connect(settings.store)
    placements, members = PlacementStore(redis), MemberStore(redis)
    groups = Groups(name, settings.max_message_bytes, settings.credentials())
    dispatcher = Dispatcher(groups, ModelStore(redis).is_registered)
    server = Server(settings, "router", shares_port=settings.shares_port)
    holdings = Holdings(settings.max_in_flight, settings.max_in_flight_bytes)
    door = Door(dispatcher, holdings, settings.receive_timeout_s, settings.max_message_bytes)
    server.add(RouterServicer(door), add_router, router_pb2.DESCRIPTOR, "Router")
    repository = Repository(redis, dispatcher.groups, settings, settings.max_in_flight)
    inference = InferenceServicer(door, repository, Statistics(), server.gate)
    server.add(inference, add_inference, public_file(), "GRPCInferenceService")
    await reached(redis)
    await repository.refresh()
    await dispatcher.groups.follow(await placements.current())
    with suppress(*OUTAGES):
        await members.announce_router(name, dispatcher.groups.view.deployment.version)
    REGISTRY.register(dispatcher.requests)
    PLACEMENT_VERSION.set_function(lambda: dispatcher.groups.view.deployment.version)
    await server.start()
    async with background(
        follow_placements(dispatcher, repository, placements, members, name),
        follow_queues(dispatcher, QueueStore(redis)),
        report_requests(dispatcher, redis, members, name),
        feel_pulse(redis),
    ):
        await stopping.wait()
        await server.drain()
    await members.withdraw_router(name)
    await server.stop()
    await dispatcher.groups.close()
    await repository.close()
    await redis.aclose()


def main() -> None:
    settings = load_settings(RouterSettings, "alpaserve-router: dispatches requests to device groups.")
    configure_logs("router", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
