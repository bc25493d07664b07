"""The long-lived stream from this router to one group's leader."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress

import grpc
import structlog
from alpaserve.v1 import leader_pb2, leader_pb2_grpc

from services.core.errors import GroupUnavailable
from services.infra.background import repeating
from services.infra.outbox import Outbox
from services.infra.server import ENVELOPE_BYTES, message_limits
from services.router.call import Call

log = structlog.get_logger()

RECONNECT_S = 0.2
# A leader that is started again is found at once; a busy one has a second to answer (what gRPC's "min" bounds), and two
# to answer pings: the keepalive timeout alone lets gRPC wait for a minute.
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1_000),
]
# What a cancellation, and a request beyond the caller's own message, take on the wire.
MESSAGE_BYTES = 64
Response = leader_pb2.Served | leader_pb2.Rejected | leader_pb2.Failed


class Unsent(GroupUnavailable):
    """The request never left this router."""


class GroupLink:
    """Sends requests to a leader and hands each its one answer. `run` keeps the stream open; `on_change` is
    called when it opens and when it breaks."""

    def __init__(
        self, group: str, address: str, router: str, max_message_bytes: int, on_change: Callable[[], None]
    ) -> None:
        self.group = group
        self.address = address
        self._router = router
        self._on_change = on_change
        self._channel = grpc.aio.insecure_channel(
            address, [*message_limits(max_message_bytes + ENVELOPE_BYTES), *KEEPALIVE]
        )
        self._outbox = Outbox(leader_pb2.ExecuteRequest)
        self._answers: dict[int, asyncio.Future[Response]] = {}
        self._sequence = 0
        self._is_open = asyncio.Event()
        self._is_closing = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._is_open.is_set()

    async def opened(self, timeout_s: float) -> bool:
        """Wait until the leader can be reached; false if it cannot."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_open.wait(), timeout_s)
        return self.is_open

    def next_sequence(self) -> int:
        return self._sequence + 1

    async def submit(self, call: Call, remaining_s: float) -> Response:
        """Send one request and wait for its answer; cancelling takes the request back.

        Raises: GroupUnavailable if the stream breaks before the answer, Unsent if it had not taken the request.
        """
        if not self.is_open:
            raise Unsent(f"group {self.group} cannot be reached")
        self._sequence += 1
        sequence, outbox = self._sequence, self._outbox
        submit = outbox.add(call.num_bytes + MESSAGE_BYTES).submit
        submit.sequence = sequence
        submit.request_id = call.request_id
        submit.model = call.model
        for name, tensor in call.inputs.items():
            submit.inputs[name].CopyFrom(tensor)
        if not math.isinf(remaining_s):
            submit.remaining_s = remaining_s
        answer = self._answers[sequence] = asyncio.get_running_loop().create_future()
        try:
            response: Response = await answer
            return response
        except asyncio.CancelledError:
            # If it was not sent yet, it need not be run, nor its inputs kept.
            submit.ClearField("inputs")
            submit.remaining_s = 0.0
            outbox.add(MESSAGE_BYTES).cancel.sequence = sequence
            raise
        finally:
            self._answers.pop(sequence, None)

    def close(self) -> None:
        """End the stream once every request has its answer."""
        self._is_closing.set()

    async def run(self) -> None:
        """Keep the stream open until `close`."""
        closing = asyncio.create_task(self._closed())
        try:
            async for _ in repeating(RECONNECT_S):
                stream = asyncio.create_task(self._stream())
                await asyncio.wait((stream, closing), return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    stream.cancel()
                    await asyncio.wait([stream])
                    return
        finally:
            closing.cancel()
            await self._channel.close(None)

    async def _closed(self) -> None:
        await self._is_closing.wait()
        while self._answers:
            await asyncio.wait(list(self._answers.values()))

    async def _stream(self) -> None:
        outbox = Outbox(leader_pb2.ExecuteRequest)
        call = leader_pb2_grpc.LeaderStub(self._channel).Execute(self._requests(outbox))
        try:
            await call.wait_for_connection()
            self._outbox, self._sequence = outbox, 0
            self._is_open.set()
            self._on_change()
            async for response in call:
                self._hand_over(response)
                for one in response.more:
                    self._hand_over(one)
        except grpc.aio.AioRpcError as error:
            log.debug("link_broken", group=self.group, address=self.address, error=error.details())
        finally:
            self._is_open.clear()
            self._on_change()
            call.cancel()
            outbox.close()
            self._fail_all({one.submit.sequence for bundle in outbox.rest() for one in bundle.more})

    async def _requests(self, outbox: Outbox[leader_pb2.ExecuteRequest]) -> AsyncIterator[leader_pb2.ExecuteRequest]:
        """What one stream sends; each has an outbox of its own, so that none sends for another."""
        yield leader_pb2.ExecuteRequest(open=leader_pb2.Open(group=self.group, router=self._router))
        while (bundle := await outbox.take()) is not None:
            yield bundle

    def _hand_over(self, message: leader_pb2.ExecuteResponse) -> None:
        kind = message.WhichOneof("message")
        if kind is None:
            return
        response: Response = getattr(message, kind)
        answer = self._answers.get(response.sequence)
        if answer is not None and not answer.done():
            answer.set_result(response)

    def _fail_all(self, unsent: AbstractSet[int]) -> None:
        for sequence, answer in self._answers.items():
            if not answer.done():
                kind = Unsent if sequence in unsent else GroupUnavailable
                answer.set_exception(kind(f"group {self.group} went away"))
