"""The way of a request outside the stages, over the contracts and in the processes of serving: a client's call, a
relay where the router is, the connection to where the group's leader is, and back; beside it the leader's state goes
through the store to the router.
"""

import asyncio
import math
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import grpc.aio
from alpaserve.v1 import leader_pb2, router_pb2
from alpaserve_client import AsyncClient
from alpaserve_client.tensors import decode_tensor, encode_tensor
from numpy.typing import NDArray

from services.core.errors import AlpaServeError
from services.infra.background import repeating
from services.infra.messages import ENVELOPE_BYTES, Messages
from services.infra.security.authorization import Authorization
from services.infra.server import listen, message_limits
from services.infra.store.connection import OUTAGES, connect
from services.infra.store.queues import PUBLISH_EVERY_S, QueueStore
from services.profiler.way import Way

BENCH = "bench"
PAUSE_S = 0.05
TIMEOUT_S = 600.0
ROUTER = router_pb2.DESCRIPTOR.services_by_name["Router"].full_name
Tensors = Mapping[str, NDArray[Any]]
Context = grpc.aio.ServicerContext[Any, Any]
# Runs a request; returns its outputs and the seconds it spent in stages.
Run = Callable[[Tensors], Awaitable[tuple[Tensors, float]]]


class EndDoor(Messages[leader_pb2.ToLeader]):
    """Where the leader is: every request of a connection is a task."""

    def __init__(self, end: "End") -> None:
        super().__init__(leader_pb2.ToLeader, ENVELOPE_BYTES)
        self._end = end
        self._is_open = False
        self._tasks: set[asyncio.Task[None]] = set()

    def received(self, message: leader_pb2.ToLeader) -> None:
        if not self._is_open:
            self._enter(message.open)
            return
        task = asyncio.create_task(self._serve(message.submit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _enter(self, opening: leader_pb2.Open) -> None:
        try:
            self.allow(self._end.admit(opening))
            self._is_open = True
        except AlpaServeError as error:
            self.abort(str(error))

    async def _serve(self, submit: leader_pb2.Submit) -> None:
        request = router_pb2.InferRequest.FromString(submit.request)
        inputs = {name: decode_tensor(tensor) for name, tensor in request.inputs.items()}
        outputs, execution_time_s = await self._end.run(inputs)
        response = router_pb2.InferResponse(
            outputs={name: encode_tensor(array) for name, array in outputs.items()}, execution_time_s=execution_time_s
        )
        served = leader_pb2.Served(sequence=submit.sequence, response=response.SerializeToString())
        self.send(leader_pb2.FromLeader(served=served))


class Onward(Messages[leader_pb2.FromLeader]):
    """From the relay to where the leader is: all requests, and an answer to each. A process that compiles says nothing
    for as long as that takes."""

    patience = math.inf

    def __init__(self, opening: leader_pb2.Open, max_message_bytes: int) -> None:
        super().__init__(leader_pb2.FromLeader, max_message_bytes)
        self._opening = opening
        self._answers: dict[int, asyncio.Future[leader_pb2.Served]] = {}
        self._sequence = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.send(leader_pb2.ToLeader(open=self._opening))

    async def ask(self, submit: leader_pb2.Submit) -> leader_pb2.Served:
        self._sequence += 1
        submit.sequence = self._sequence
        answer = self._answers[self._sequence] = asyncio.get_running_loop().create_future()
        self.send(leader_pb2.ToLeader(submit=submit))
        served: leader_pb2.Served = await answer
        return served

    def received(self, message: leader_pb2.FromLeader) -> None:
        self._answers.pop(message.served.sequence).set_result(message.served)

    def lost(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the end of the way is gone"))


class RelayServicer:
    """Where the router is: one connection carries all requests on, and every state is listened to."""

    def __init__(self, onward: Onward, queues: QueueStore) -> None:
        self._onward = onward
        self._states: dict[str, leader_pb2.QueueState] = {}
        self._listening = asyncio.create_task(self._listen(queues))

    async def Infer(self, content: bytes, context: Context) -> bytes:
        head = leader_pb2.InferHead.FromString(content)
        request_id = head.request_id or uuid.uuid4().hex
        async with asyncio.timeout(TIMEOUT_S):
            served = await self._onward.ask(leader_pb2.Submit(request_id=request_id, request=content))
        known = router_pb2.InferResponse(request_id=request_id)
        return known.SerializeToString() + served.response

    async def _listen(self, queues: QueueStore) -> None:
        async for state in queues.watch():
            self._states[state.group] = state


class Relay:
    """A process for the relay, as the router is one: a Ray actor."""

    def __init__(self, way: Way) -> None:
        self._queues = QueueStore(connect(way.settings.store))
        self._way = way

    async def serve(self, leader: str) -> str:
        """Relay calls to the leader's address; returns its own. Ends with the actor."""
        host, _, port = leader.rpartition(":")
        loop, credentials, gatekeeper = asyncio.get_running_loop(), self._way.credentials(), self._way.gatekeeper()
        opening = leader_pb2.Open(group=BENCH, token=credentials.token())
        largest = self._way.settings.max_message_bytes
        _, onward = await loop.create_connection(
            lambda: Onward(opening, largest + ENVELOPE_BYTES), host, int(port), ssl=credentials.context
        )
        guards = [Authorization(gatekeeper)] if gatekeeper is not None else None
        self._server = grpc.aio.server(interceptors=guards, options=message_limits(largest))
        infer = grpc.unary_unary_rpc_method_handler(RelayServicer(onward, self._queues).Infer)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ROUTER, {"Infer": infer}),))
        own = listen(self._server, "127.0.0.1:0", self._way.settings.tls)
        await self._server.start()
        return f"127.0.0.1:{own}"


class End:
    """The end of the way, in the process of what it runs; it lasts as long."""

    def __init__(self, run: Run, way: Way) -> None:
        self._run = run
        self._queues = QueueStore(connect(way.settings.store))
        self._max_message_bytes = way.settings.max_message_bytes + ENVELOPE_BYTES
        self._entrance = way.entrance()
        self._num_events = 0

    def admit(self, opening: leader_pb2.Open) -> int:
        """How large messages may be. Raises: Unauthenticated."""
        self._entrance.admit(opening)
        return self._max_message_bytes

    async def run(self, inputs: Tensors) -> tuple[Tensors, float]:
        self._num_events += 1
        try:
            return await self._run(inputs)
        finally:
            self._num_events += 1

    async def serve(self) -> str:
        """Take connections, and publish; returns the address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: EndDoor(self), "127.0.0.1", 0, ssl=self._entrance.context)
        self._publishing = asyncio.create_task(self._publish())
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _publish(self) -> None:
        """As a leader does: after events, and of a group that no placement names."""
        num_published = 0
        async for _ in repeating(PUBLISH_EVERY_S):
            if self._num_events != num_published:
                num_published = self._num_events
                with suppress(*OUTAGES):
                    await self._queues.publish([leader_pb2.QueueState(group=BENCH, free_in_s=[0.0])])


async def overhead_s(relay: str, way: Way, inputs: Tensors, repeats: tuple[int, int]) -> float:
    """Median seconds that a request spends outside the stages, from the client's call to its return."""
    seconds = []
    num_warmups, num_repeats = repeats
    async with AsyncClient(relay, way.connection(TIMEOUT_S)) as client:
        for _ in range(num_warmups + num_repeats):
            await asyncio.sleep(PAUSE_S)
            began_s = time.perf_counter()
            result = await client.infer("measured", inputs)
            seconds.append(time.perf_counter() - began_s - result.execution_time_s)
    return statistics.median(seconds[num_warmups:])
