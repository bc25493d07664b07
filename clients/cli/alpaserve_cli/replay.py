"""Sends a workload to a router as it would arrive, open loop: every request at its absolute time,
however late the answers are. Works as a library; `alpaserve replay` is its command.
"""

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence

import grpc
import uvloop
from alpaserve.v1 import router_pb2, router_pb2_grpc
from alpaserve_client import encode_tensor
from alpaserve_client.errors import error_of
from grpc import aio

from alpaserve_cli.inputs import InputSource
from alpaserve_cli.replay_ledger import Ledger, Progress, ReplayOptions
from alpaserve_cli.replay_outcomes import ReplayResult
from services.core.workload import Workload

_LONGEST_NAP_S = 0.1
_MAX_MESSAGE_BYTES = 64 * 2**20
# A router that comes back is found within so much time.
_RECONNECT_MS = 1_000


OnProgress = Callable[[Progress], None]


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


class Replay:
    """One replay, for a caller with an event loop of its own; `stop` it or cancel `run`."""

    def __init__(
        self, workload: Workload, routers: str | Sequence[str], inputs: InputSource, options: ReplayOptions
    ) -> None:
        self._workload = workload
        self._routers = (routers,) if isinstance(routers, str) else tuple(routers)
        self._inputs = inputs
        self._options = options
        self._ledger = Ledger(workload, options)
        self._is_stopping = False

    def stop(self) -> None:
        """Send no more; what was sent is still waited for."""
        self._is_stopping = True

    async def run(self, on_progress: OnProgress | None = None) -> ReplayResult:
        """Connect, send every request at its time, wait for the answers.

        Raises: TimeoutError if a router cannot be reached; whatever `inputs` raises for a model.
        """
        for model, name in enumerate(self._workload.names):
            if (self._workload.model == model).any():
                self._inputs(name, 0)
        channels = [self._channel(address) for address in self._routers for _ in range(self._options.num_channels)]
        try:
            await self._connect(channels)
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

    def _channel(self, address: str) -> aio.Channel:
        """A connection of its own: gRPC would let equal channels share one."""
        arguments = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ]
        return aio.insecure_channel(address, options=arguments)

    async def _send_all(self, stubs: Sequence["router_pb2_grpc.RouterAsyncStub"]) -> None:
        """Returns when the last answer is in."""
        self._ledger.begin()
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
        model = self._workload.names[self._workload.model[index]]
        request = router_pb2.InferRequest(
            model=model,
            inputs={name: encode_tensor(array) for name, array in self._inputs(model, index).items()},
            request_id=self._ledger.request_id[index],
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
