"""A gRPC server with health, reflection and a drain: what every service runs in."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from services.infra.errors import Gate, Guarded
from services.infra.settings import ServiceSettings

log = structlog.get_logger()

STREAM_GRACE_S = 0.2
KEEPALIVE = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
# A port that is taken is refused: gRPC would share it, and half of the calls would go astray.
ALONE = (("grpc.so_reuseport", 0),)


# For channels inside the system: whoever comes back is found again within a second.
RECONNECT = (("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1_000))


# What a router adds to a request on its way to a leader.
ENVELOPE_BYTES = 64 * 1024


def message_limits(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]


class Server:
    """One process's gRPC server. Bind first, add servicers, then `serve` until it is told to stop."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._grpc = grpc.aio.server(options=[*message_limits(settings.max_message_bytes), *KEEPALIVE, *ALONE])
        self._gate = Gate()
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
        self._names: list[str] = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        port = self._grpc.add_insecure_port(f"{settings.host}:{settings.port}")
        self.address = f"{settings.reachable_host}:{port}"

    def add(self, servicer: object, register: Callable[[Any, Any], None], descriptor: ModuleType, name: str) -> None:
        """Serve a servicer under the service `name` of a generated module."""
        register(Guarded(servicer, self._gate), self._grpc)
        self._names.append(descriptor.DESCRIPTOR.services_by_name[name].full_name)

    async def start(self) -> None:
        """Take calls and report as healthy."""
        reflection.enable_server_reflection(self._names, self._grpc)
        await self._grpc.start()
        if self._settings.metrics_port:
            start_http_server(self._settings.metrics_port, addr=self._settings.host)
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", address=self.address)

    async def drain(self) -> None:
        """Report as unhealthy, take no new calls, and let those under way finish for `drain_s`."""
        log.info("draining", drain_s=self._settings.drain_s)
        await self._health.enter_graceful_shutdown()
        if not await self._gate.close(self._settings.drain_s):
            log.warning("drain_incomplete")

    async def stop(self) -> None:
        """End every call that is still open."""
        await self._grpc.stop(STREAM_GRACE_S)
        log.info("stopped")


def stop_signal(signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> asyncio.Event:
    """An event that is set when the process is asked to end."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, stopping.set)
    return stopping
