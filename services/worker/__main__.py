"""alpaserve-worker: the control plane of one host."""

from contextlib import suppress

import structlog
import uvloop
from alpaserve.v1 import worker_pb2, worker_pb2_grpc
from prometheus_client import REGISTRY

from services.infra.background import background, repeating
from services.infra.logs import configure_logs
from services.infra.ray_cluster import join_cluster, leave_cluster
from services.infra.server import Server, stop_signal
from services.infra.settings import load_settings
from services.infra.store.connection import OUTAGES, connect, reached
from services.infra.store.members import HEARTBEAT_S, MemberStore, WorkerRecord
from services.infra.store.pulse import feel_pulse
from services.worker.actors import LeaderActor
from services.worker.groups import HostedGroups
from services.worker.metrics import HostMetrics
from services.worker.servicer import WorkerServicer
from services.worker.settings import WorkerSettings

log = structlog.get_logger()


async def announce(members: MemberStore, record: WorkerRecord) -> None:
    """Tell the planner that this worker is alive, for as long as it is."""
    async for _ in repeating(HEARTBEAT_S):
        try:
            await members.announce_worker(record)
        except OUTAGES as error:
            log.warning("heartbeat_not_sent", error=str(error))


async def serve(settings: WorkerSettings, leader: type[LeaderActor]) -> None:
    stopping = stop_signal()
    redis = connect(settings.store)
    await reached(redis)
    members = MemberStore(redis)
    groups = HostedGroups(settings, leader)
    server = Server(settings, "worker")
    servicer = WorkerServicer(groups, settings.models_dir)
    server.add(servicer, worker_pb2_grpc.add_WorkerServicer_to_server, worker_pb2.DESCRIPTOR, "Worker")
    record = WorkerRecord(
        name=settings.worker_name,
        address=server.address,
        executor=settings.executor,
        first_device=await members.assign_devices(settings.worker_name, settings.num_devices),
        num_devices=settings.num_devices,
        memory_bytes=settings.memory_bytes,
    )
    with suppress(*OUTAGES):
        await members.announce_worker(record)
    await server.start()
    REGISTRY.register(HostMetrics(groups, settings, record.first_device))
    async with background(announce(members, record), groups.watch(), feel_pulse(redis)):
        await stopping.wait()
    await members.withdraw_worker(settings.worker_name)
    await server.drain()
    await groups.stop()
    await server.stop()
    await redis.aclose()


def main(leader: type[LeaderActor] = LeaderActor) -> None:
    settings = load_settings(WorkerSettings, "alpaserve-worker: runs device groups on this host.")
    configure_logs("worker", settings.log_level)
    join_cluster(settings.ray_address, settings.ray_object_store_bytes)
    try:
        uvloop.run(serve(settings, leader))
    finally:
        leave_cluster()


if __name__ == "__main__":
    main()
