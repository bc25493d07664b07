"""A gRPC server with health, reflection and a drain: what every service runs in."""

import asyncio
import gc
import resource
import signal
from collections.abc import Callable, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

import grpc.aio
import structlog
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from prometheus_client import REGISTRY, Gauge, start_http_server
from prometheus_client.registry import Collector

from services.infra.calls import Calls
from services.infra.errors import Gate, Guarded
from services.infra.reflected import pool_of
from services.infra.security.authorization import Authorization
from services.infra.security.tls import TlsFiles
from services.infra.settings import ServiceSettings
from services.infra.tracing import Traced, start_tracing

log = structlog.get_logger()

STREAM_GRACE_S = 0.2
# Objects that are new since the last collection, at the next one.
COLLECT_AFTER = 50_000
# Files of a process that are no connections to its server.
OTHER_FILES = 1_000
KEEPALIVE = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
# A caller that does not answer for so long is gone, and its calls end.
PING_MS, PING_TIMEOUT_MS = 30_000, 20_000


# For channels inside the system: whoever comes back is found again within a second.
RECONNECT = (("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1_000))


def message_limits(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]


def bounds(settings: ServiceSettings) -> list[tuple[str, int]]:
    """What callers may take of a server, whoever they are."""
    return [
        *message_limits(settings.max_message_bytes),
        ("grpc.max_connection_idle_ms", round(1000 * settings.max_idle_s)),
        ("grpc.max_concurrent_streams", settings.max_streams),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
    ]


def allow_connections(num_connections: int) -> None:
    """Let this process open as many files, if its hard limit does; else as many as that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num_connections + OTHER_FILES
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < wanted:
        log.warning("few_connections_possible", num_files=limit, max_connections=num_connections)


def settle_memory() -> None:
    """What a process has made before it serves stays: no collection need walk over it again. A burst of requests is no
    garbage either; by default, some dozens under way set off collection after collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def listen(server: grpc.aio.Server, address: str, tls: TlsFiles | None) -> int:
    """Take calls at an address; returns the port. Raises: RuntimeError if it is taken."""
    if tls is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, tls.server_credentials())


def certificate_expiry(tls: TlsFiles) -> Gauge:
    """Of the certificate that this process began with."""
    about = "When the certificate of this process expires, seconds of the epoch."
    gauge = Gauge("alpaserve_certificate_expiry_timestamp_seconds", about, registry=None)
    gauge.set(tls.expiry_s())
    return gauge


class Server:
    """One process's gRPC server. Bind first, add servicers, then `serve` until it is told to stop.

    A port that is taken is refused, unless all who listen on it share it: the kernel deals them the connections.
    """

    def __init__(self, settings: ServiceSettings, service: str = "server", *, shares_port: bool = False) -> None:
        self._settings = settings
        self._tracing = start_tracing(settings, service)
        allow_connections(settings.max_connections)
        options = [*KEEPALIVE, *bounds(settings), ("grpc.so_reuseport", int(shares_port))]
        gatekeeper = settings.gatekeeper()
        guards = [Authorization(gatekeeper)] if gatekeeper is not None else None
        self._grpc = grpc.aio.server(interceptors=guards, options=options)
        self.gate = Gate()
        self._calls = Calls()
        self._metrics: WSGIServer | None = None
        self._collectors: list[Collector] = [self._calls]
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
        self._files: list[FileDescriptor] = [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
        self._names: list[str] = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        port = listen(self._grpc, f"{settings.host}:{settings.port}", settings.tls)
        self.address = f"{settings.reachable_host}:{port}"

    def add(self, servicer: object, register: Callable[[Any, Any], None], file: FileDescriptor, name: str) -> None:
        """Serve a servicer under the service `name` of a file."""
        full_name = file.services_by_name[name].full_name
        traced = servicer if self._tracing is None else Traced(servicer, self._tracing)
        register(Guarded(traced, self.gate, self._calls, full_name), self._grpc)
        self._files.append(file)
        self._names.append(full_name)

    async def start(self) -> None:
        """Take calls and report as healthy."""
        reflection.enable_server_reflection(self._names, self._grpc, pool_of(self._files))
        await self._grpc.start()
        settle_memory()
        if self._settings.metrics_port:
            files = {}
            if self._settings.tls is not None:
                files = self._settings.tls.metrics_options()
                self._collectors.append(certificate_expiry(self._settings.tls))
            for collector in self._collectors:
                REGISTRY.register(collector)
            self._metrics, _ = start_http_server(self._settings.metrics_port, addr=self._settings.host, **files)
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._calls.is_serving = True
        log.info("serving", address=self.address)

    async def drain(self) -> None:
        """Report as unhealthy and go on for `drain_notice_s`; then take no new calls, and let those under way finish
        for `drain_s`."""
        log.info("draining", drain_notice_s=self._settings.drain_notice_s, drain_s=self._settings.drain_s)
        self._calls.is_serving = False
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.drain_notice_s)
        if not await self.gate.close(self._settings.drain_s):
            log.warning("drain_incomplete")

    async def stop(self) -> None:
        """End every call that is still open."""
        await self._grpc.stop(STREAM_GRACE_S)
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.shutdown)
            self._metrics.server_close()
            for collector in self._collectors:
                REGISTRY.unregister(collector)
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        log.info("stopped")


def stop_signal(signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> asyncio.Event:
    """An event that is set when the process is asked to end."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, stopping.set)
    return stopping
