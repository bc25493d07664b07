"""Who may listen where, and how many may call."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import grpc
import pytest
from alpaserve.v1 import worker_pb2, worker_pb2_grpc
from alpaserve_client.errors import error_of
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.infra.server import Server
from services.infra.settings import ServiceSettings


def settings(**values: object) -> ServiceSettings:
    return ServiceSettings.model_validate({"redis_url": "redis://127.0.0.1:1/0", **values})


def port_of(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


async def is_serving(address: str) -> bool:
    """Over a connection of its own."""
    async with aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with suppress(aio.AioRpcError):
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
    return False


@pytest.fixture
async def running() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def started(stack: AsyncExitStack, server: Server) -> Server:
    await server.start()
    stack.push_async_callback(server.stop)
    return server


async def test_a_port_that_is_taken_is_refused(running: AsyncExitStack) -> None:
    first = await started(running, Server(settings()))
    with pytest.raises(RuntimeError, match=str(port_of(first))):
        Server(settings(port=port_of(first)))


async def test_a_port_is_shared_by_those_who_say_so_and_by_nobody_else(running: AsyncExitStack) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = [await started(running, Server(settings(port=port), shares_port=True)) for _ in range(2)]
    assert [port_of(server) for server in both] == [port, port]
    with pytest.raises(RuntimeError, match=str(port)):
        Server(settings(port=port))
    assert await is_serving(both[0].address)


async def test_connections_beyond_the_most_are_closed_and_those_before_stay(running: AsyncExitStack) -> None:
    server = await started(running, Server(settings(max_connections=1)))
    async with aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert not await is_serving(server.address)
        response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_connection_without_calls_is_closed_after_a_while(running: AsyncExitStack) -> None:
    server = await started(running, Server(settings(max_idle_s=0.2)))
    async with aio.insecure_channel(server.address) as channel:
        await channel.channel_ready()
        state = channel.get_state()
        while state is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)
            state = channel.get_state()
        assert await is_serving(server.address)
    assert state is grpc.ChannelConnectivity.IDLE


class Idle(worker_pb2_grpc.WorkerServicer):
    """A worker that runs nothing."""

    async def GetWorkerStatus(self, _request: object, _context: object) -> worker_pb2.GetWorkerStatusResponse:
        return worker_pb2.GetWorkerStatusResponse()


def idle_worker(drain_notice_s: float) -> Server:
    server = Server(settings(drain_notice_s=drain_notice_s))
    idle = Idle()  # type: ignore[abstract]  # nobody calls the rest
    server.add(idle, worker_pb2_grpc.add_WorkerServicer_to_server, worker_pb2.DESCRIPTOR, "Worker")
    return server


async def test_a_server_that_drains_says_so_and_serves_until_that_was_noticed(running: AsyncExitStack) -> None:
    server = await started(running, idle_worker(drain_notice_s=60))
    draining = asyncio.create_task(server.drain())
    async with aio.insecure_channel(server.address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        while (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING:
            pass
        await worker_pb2_grpc.WorkerStub(channel).GetWorkerStatus(worker_pb2.GetWorkerStatusRequest(), timeout=5)
    draining.cancel()


async def test_a_server_that_has_drained_refuses_calls_and_says_that_they_may_be_repeated(
    running: AsyncExitStack,
) -> None:
    server = await started(running, idle_worker(drain_notice_s=0))
    await server.drain()
    async with aio.insecure_channel(server.address) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await worker_pb2_grpc.WorkerStub(channel).GetWorkerStatus(worker_pb2.GetWorkerStatusRequest(), timeout=5)
    assert error_of(refused.value).reason == "DRAINING"
