"""The way of a request outside the stages, over the contracts and in the processes of serving: a client's call, a
relay where the router is, the stream to where the group's leader is, and back; beside it the leader's state goes
through the store to the router.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import grpc.aio
from alpaserve.v1 import leader_pb2, leader_pb2_grpc, router_pb2, router_pb2_grpc
from alpaserve_client import AsyncClient, ConnectionOptions
from alpaserve_client.tensors import decode_tensor, encode_tensor
from numpy.typing import NDArray

from services.infra.background import repeating
from services.infra.server import ENVELOPE_BYTES, message_limits
from services.infra.store.connection import OUTAGES, connect
from services.infra.store.queues import PUBLISH_EVERY_S, QueueStore

BENCH = "bench"
PAUSE_S = 0.05
TIMEOUT_S = 600.0
Tensors = Mapping[str, NDArray[Any]]
Context = grpc.aio.ServicerContext[Any, Any]
# Runs a request; returns its outputs and the seconds it spent in stages.
Run = Callable[[Tensors], Awaitable[tuple[Tensors, float]]]


class EndServicer(leader_pb2_grpc.LeaderServicer):
    """Where the leader is: every request of a stream is a task, one task writes."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._num_events = 0

    async def Execute(  # type: ignore[override]
        self, request_iterator: AsyncIterator[leader_pb2.ExecuteRequest], context: Context
    ) -> None:
        outbox: asyncio.Queue[leader_pb2.ExecuteResponse] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(write_all(outbox, context))
            async for request in request_iterator:
                if request.WhichOneof("message") == "submit":
                    self._num_events += 1
                    tasks.create_task(self._serve(request.submit, outbox))
            await outbox.join()
            writer.cancel()

    async def _serve(self, submit: leader_pb2.Submit, outbox: asyncio.Queue[leader_pb2.ExecuteResponse]) -> None:
        inputs = {name: decode_tensor(tensor) for name, tensor in submit.inputs.items()}
        outputs, execution_time_s = await self._run(inputs)
        served = leader_pb2.Served(
            sequence=submit.sequence,
            outputs={name: encode_tensor(array) for name, array in outputs.items()},
            execution_time_s=execution_time_s,
        )
        outbox.put_nowait(leader_pb2.ExecuteResponse(served=served))
        self._num_events += 1

    async def publish(self, queues: QueueStore) -> None:
        """As a leader does: after events, and of a group that no placement names."""
        num_published = 0
        async for _ in repeating(PUBLISH_EVERY_S):
            if self._num_events != num_published:
                num_published = self._num_events
                with suppress(*OUTAGES):
                    await queues.publish([leader_pb2.QueueState(group=BENCH, free_in_s=[0.0])])


async def write_all(outbox: asyncio.Queue[leader_pb2.ExecuteResponse], context: Context) -> None:
    while True:
        await context.write(await outbox.get())
        outbox.task_done()


class RelayServicer(router_pb2_grpc.RouterServicer):
    """Where the router is: one long-lived stream carries all requests on, and every state is listened to."""

    def __init__(self, leader: str, max_message_bytes: int, queues: QueueStore) -> None:
        self._channel = grpc.aio.insecure_channel(leader, message_limits(max_message_bytes + ENVELOPE_BYTES))
        self._outbox: asyncio.Queue[leader_pb2.ExecuteRequest] = asyncio.Queue()
        self._states: dict[str, leader_pb2.QueueState] = {}
        self._answers: dict[int, asyncio.Future[leader_pb2.Served]] = {}
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._listen(queues))]
        self._sequence = 0

    async def Infer(self, request: router_pb2.InferRequest, context: Context) -> router_pb2.InferResponse:
        for tensor in request.inputs.values():
            decode_tensor(tensor)
        request_id = request.request_id or uuid.uuid4().hex
        self._sequence += 1
        answer = self._answers[self._sequence] = asyncio.get_running_loop().create_future()
        submit = leader_pb2.Submit(
            sequence=self._sequence, request_id=request_id, model=request.model, inputs=request.inputs
        )
        self._outbox.put_nowait(leader_pb2.ExecuteRequest(submit=submit))
        async with asyncio.timeout(TIMEOUT_S):
            served = await answer
        return router_pb2.InferResponse(
            request_id=request_id, outputs=served.outputs, execution_time_s=served.execution_time_s
        )

    async def _read(self) -> None:
        async for response in leader_pb2_grpc.LeaderStub(self._channel).Execute(self._requests()):
            self._answers.pop(response.served.sequence).set_result(response.served)

    async def _listen(self, queues: QueueStore) -> None:
        async for state in queues.watch():
            self._states[state.group] = state

    async def _requests(self) -> AsyncIterator[leader_pb2.ExecuteRequest]:
        while True:
            yield await self._outbox.get()


class Relay:
    """A process for the relay, as the router is one: a Ray actor."""

    def __init__(self, redis_url: str, max_message_bytes: int) -> None:
        self._queues = QueueStore(connect(redis_url))
        self._max_message_bytes = max_message_bytes

    async def serve(self, leader: str) -> str:
        """Relay calls to the leader's address; returns its own. Ends with the actor."""
        servicer = RelayServicer(leader, self._max_message_bytes, self._queues)
        self._server = grpc.aio.server(options=message_limits(self._max_message_bytes))
        router_pb2_grpc.add_RouterServicer_to_server(servicer, self._server)
        return await started(self._server)


class End:
    """The end of the way, in the process of what it runs; it lasts as long."""

    def __init__(self, run: Run, redis_url: str, max_message_bytes: int) -> None:
        self._servicer = EndServicer(run)
        self._queues = QueueStore(connect(redis_url))
        self._server = grpc.aio.server(options=message_limits(max_message_bytes + ENVELOPE_BYTES))

    async def serve(self) -> str:
        """Take streams, and publish; returns the address."""
        leader_pb2_grpc.add_LeaderServicer_to_server(self._servicer, self._server)
        self._publishing = asyncio.create_task(self._servicer.publish(self._queues))
        return await started(self._server)


async def started(server: grpc.aio.Server) -> str:
    """Serve on a free port of this host; returns the address."""
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return f"127.0.0.1:{port}"


async def overhead_s(relay: str, inputs: Tensors, num_warmups: int, num_repeats: int) -> float:
    """Median seconds that a request spends outside the stages, from the client's call to its return."""
    seconds = []
    async with AsyncClient(relay, ConnectionOptions(timeout_s=TIMEOUT_S)) as client:
        for _ in range(num_warmups + num_repeats):
            await asyncio.sleep(PAUSE_S)
            began_s = time.perf_counter()
            result = await client.infer("measured", inputs)
            seconds.append(time.perf_counter() - began_s - result.execution_time_s)
    return statistics.median(seconds[num_warmups:])
