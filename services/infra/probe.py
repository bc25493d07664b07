"""Whether the service at an address says that it serves: `python -m services.infra.probe ADDRESS` exits 0 if so."""

import sys

import grpc
from alpaserve_client import ConnectionOptions
from alpaserve_client.connection import connect
from alpaserve_client.security import tls_of_environment
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0


def is_serving(address: str) -> bool:
    with connect(address, ConnectionOptions(tls=tls_of_environment())) as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_serving(sys.argv[1]) else 1)
