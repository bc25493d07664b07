"""Ray Serve's gRPC ingress before an echo, with the router's own messages; prints its address.

Run by `benchmarks.serving` with an interpreter that has `ray[serve]` and `alpaserve-client`.
"""

import logging
import signal
import socket
from typing import Any

import ray
from alpaserve.v1 import router_pb2
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions

SERVICER = "alpaserve.v1.router_pb2_grpc.add_RouterServicer_to_server"


class Echo:
    """One replica."""

    async def Infer(self, request: router_pb2.InferRequest) -> router_pb2.InferResponse:  # noqa: N802
        return router_pb2.InferResponse(request_id=request.request_id, outputs=request.inputs)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    port = free_port()
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=free_port()),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=[SERVICER]),
    )
    deployment: Any = serve.deployment(max_ongoing_requests=100)(Echo)
    serve.run(deployment.bind())
    print(f"127.0.0.1:{port}", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


if __name__ == "__main__":
    main()
