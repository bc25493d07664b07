"""Sends a workload to a router as it would arrive, open loop: every request at its absolute time,
however late the answers are. Latency counts from the time that was meant, so a generator or a
system that falls behind hides nothing (no coordinated omission).
"""

import asyncio
import itertools
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence

import grpc
import uvloop
from alpaserve.v1 import router_pb2, router_pb2_grpc
from alpaserve_client import encode_tensor
from alpaserve_client.connection import connect_async
from alpaserve_client.errors import error_of
from grpc import aio

from alpaserve_cli.inputs import InputSource
from alpaserve_cli.replay.ledger import Ledger, as_sent
from alpaserve_cli.replay.options import Progress, ReplayOptions, Share
from alpaserve_cli.replay.outcomes import ReplayResult
from services.core.workload import Workload

_LEAD_IN_S = 0.05
_LONGEST_NAP_S = 0.1
# A connection of its own: gRPC would let equal channels share one.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)

OnProgress = Callable[[Progress], None]
# Tells the monotonic instant of the replay's start once everything is connected.
Begin = Callable[[], Awaitable[float]]


def replay(
    workload: Workload,
    routers: str | Sequence[str],
    inputs: InputSource,
    options: ReplayOptions | None = None,
    on_progress: OnProgress | None = None,
) -> ReplayResult:
    """Replay to the end, from a thread without an event loop.

    Raises: TimeoutError if a router cannot be reached, whatever `inputs` raises.
    """
    run = Replay(workload, routers, inputs, options or ReplayOptions())
    return uvloop.run(run.run(on_progress))


class Sender:
    """Sends a share of a workload whose arrivals count from the replay's start."""

    def __init__(
        self,
        arrivals: Workload,
        routers: Sequence[str],
        inputs: InputSource,
        options: ReplayOptions,
        share: Share,
    ) -> None:
        self._arrivals = arrivals
        self._routers = routers
        self._inputs = inputs
        self._options = options
        self._share = share
        self._ledger = Ledger(arrivals, options)
        self._is_stopping = False

    def stop(self) -> None:
        """Send no more; what was sent is still waited for."""
        self._is_stopping = True

    async def run(self, begin: Begin, on_progress: OnProgress | None = None) -> ReplayResult:
        """Connect, send every request at its time, wait for the answers.

        Raises: TimeoutError if a router cannot be reached; whatever `inputs` raises for a model.
        """
        for name, num_requests in zip(self._arrivals.names, self._arrivals.num_requests_of, strict=True):
            if num_requests:
                self._inputs(name, 0)
        connection, num_channels = self._options.connection, self._options.num_channels
        channels = [
            connect_async(address, connection, _OWN_CONNECTION)
            for address in self._routers
            for _ in range(num_channels)
        ]
        try:
            await self._connect(channels)
            self._ledger.begin(await begin())
            async with asyncio.TaskGroup() as group:
                reporter = group.create_task(self._report(on_progress))
                await self._send_all([router_pb2_grpc.RouterStub(channel) for channel in channels])
                reporter.cancel()
        finally:
            await asyncio.gather(*(channel.close(None) for channel in channels))
        return self._ledger.result()

    async def _connect(self, channels: Sequence[aio.Channel]) -> None:
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                await asyncio.gather(*(channel.channel_ready() for channel in channels))
        except TimeoutError:
            raise TimeoutError(f"no router answers at {', '.join(self._routers)}") from None

    async def _send_all(self, stubs: Sequence["router_pb2_grpc.RouterAsyncStub"]) -> None:
        """Returns when the last answer is in."""
        async with asyncio.TaskGroup() as group:
            for index, stub in zip(range(len(self._ledger)), itertools.cycle(stubs), strict=False):
                request = self._request(index)
                await self._wait_for_arrival(index)
                if self._is_stopping:
                    return
                group.create_task(self._ask(stub, index, request))

    async def _wait_for_arrival(self, index: int) -> None:
        await asyncio.sleep(0)  # sends what was created, also when the arrivals are behind
        while not self._is_stopping:
            pause_s = self._ledger.due_in_s(index)
            if pause_s <= 0:
                return
            await asyncio.sleep(min(pause_s, _LONGEST_NAP_S))

    def _request(self, index: int) -> router_pb2.InferRequest:
        number = self._share.number(index)
        model = self._arrivals.names[self._arrivals.model[index]]
        request = router_pb2.InferRequest(
            model=model,
            inputs={name: encode_tensor(array) for name, array in self._inputs(model, number).items()},
            request_id=f"{self._share.run_id}-{number}",
        )
        slo_s = self._ledger.slo_s[index]
        if math.isfinite(slo_s):
            request.slo.FromNanoseconds(round(slo_s * 1e9))
        return request

    async def _ask(self, stub: "router_pb2_grpc.RouterAsyncStub", index: int, request: router_pb2.InferRequest) -> None:
        self._ledger.note_sent(index)
        try:
            response: router_pb2.InferResponse = await stub.Infer(request, timeout=self._options.timeout_s)
        except grpc.RpcError as error:
            self._ledger.note_error(index, error_of(error))
        else:
            self._ledger.note_response(index, response)

    async def _report(self, on_progress: OnProgress | None) -> None:
        try:
            while on_progress:
                await asyncio.sleep(self._options.progress_every_s)
                on_progress(self._ledger.progress())
        finally:
            if on_progress:
                on_progress(self._ledger.progress())


class Replay:
    """One replay, for a caller with an event loop of its own; `stop` it or cancel `run`."""

    def __init__(
        self, workload: Workload, routers: str | Sequence[str], inputs: InputSource, options: ReplayOptions
    ) -> None:
        arrivals = as_sent(workload, options.speed)
        self._sender = Sender(arrivals, addresses(routers), inputs, options, Share(run_id=new_run_id()))

    def stop(self) -> None:
        """Send no more; what was sent is still waited for."""
        self._sender.stop()

    async def run(self, on_progress: OnProgress | None = None) -> ReplayResult:
        """Send everything and wait for the answers. Raises: as `Sender.run`."""
        return await self._sender.run(_at_once, on_progress)


async def _at_once() -> float:
    return time.monotonic() + _LEAD_IN_S


def addresses(routers: str | Sequence[str]) -> tuple[str, ...]:
    return (routers,) if isinstance(routers, str) else tuple(routers)


def new_run_id() -> str:
    """What the ids of a replay's requests begin with."""
    return f"replay-{uuid.uuid4().hex[:12]}"
