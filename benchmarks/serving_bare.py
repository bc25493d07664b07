"""What the router is measured against: grpc.aio on uvloop with nothing to do, speaking the router's own messages.

`python -m benchmarks.serving_bare echo` answers with what came; `… proxy ADDRESS` asks another for it, one unary call
a request. Both print their address.
"""

import asyncio
import sys
from typing import Any

import uvloop
from alpaserve.v1 import router_pb2, router_pb2_grpc
from grpc import aio

Context = aio.ServicerContext[Any, Any]


class Echo(router_pb2_grpc.RouterServicer):
    """One hop."""

    async def Infer(  # noqa: N802
        self, request: router_pb2.InferRequest, context: Context
    ) -> router_pb2.InferResponse:
        return router_pb2.InferResponse(request_id=request.request_id, outputs=request.inputs)


class Proxy(router_pb2_grpc.RouterServicer):
    """The first of two hops."""

    def __init__(self, backend: str) -> None:
        self._stub: Any = router_pb2_grpc.RouterStub(aio.insecure_channel(backend))

    async def Infer(  # noqa: N802
        self, request: router_pb2.InferRequest, context: Context
    ) -> router_pb2.InferResponse:
        response: router_pb2.InferResponse = await self._stub.Infer(request)
        return response


async def serve(backend: str) -> None:
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    router_pb2_grpc.add_RouterServicer_to_server(Proxy(backend) if backend else Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    kind, *backend = sys.argv[1:]
    if kind not in ("echo", "proxy") or len(backend) != (kind == "proxy"):
        raise SystemExit(__doc__)
    uvloop.run(serve("".join(backend)))


if __name__ == "__main__":
    main()
