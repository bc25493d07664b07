"""Who may listen where, and how many may call."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import grpc
import pytest
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
