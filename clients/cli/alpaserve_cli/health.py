"""Asks a service for its health, grpc.health.v1."""

import time

import grpc
from alpaserve_client import ConnectionOptions, Tls
from alpaserve_client.connection import connect
from grpc_health.v1 import health_pb2, health_pb2_grpc

from alpaserve_cli.failures import CommandError

_POLL_S = 0.05
_CALL_TIMEOUT_S = 5.0


def is_healthy(address: str, tls: Tls | None = None) -> bool:
    """Whether the service at the address says that it serves."""
    with connect(address, ConnectionOptions(tls=tls)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            response = stub.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def wait_until_healthy(address: str, timeout_s: float, tls: Tls | None = None) -> None:
    """Raises: CommandError after `timeout_s` seconds."""
    give_up_at = time.monotonic() + timeout_s
    while not is_healthy(address, tls):
        if time.monotonic() >= give_up_at:
            raise CommandError(f"{address} is not healthy after {timeout_s:g} s")
        time.sleep(_POLL_S)
