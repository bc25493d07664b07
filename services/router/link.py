"""The long-lived stream from this router to one group's leader."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import structlog
from alpaserve.v1 import leader_pb2, leader_pb2_grpc

from services.core.errors import GroupUnavailable
from services.infra.background import repeating
from services.infra.server import ENVELOPE_BYTES, message_limits

log = structlog.get_logger()

RECONNECT_S = 0.2
# A leader that is started again is found at once; a busy one has a second to answer (what gRPC's "min" bounds).
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1_000),
]
Response = leader_pb2.Served | leader_pb2.Rejected | leader_pb2.Failed
Outbox = asyncio.Queue[leader_pb2.ExecuteRequest | None]


class GroupLink:
    """Sends requests to a leader and hands each its one answer. `run` keeps the stream open."""

    def __init__(self, group: str, address: str, router: str, max_message_bytes: int) -> None:
        self.group = group
        self.address = address
        self._router = router
        self._channel = grpc.aio.insecure_channel(
            address, [*message_limits(max_message_bytes + ENVELOPE_BYTES), *KEEPALIVE]
        )
        self._outbox = Outbox()
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

    async def submit(self, submit: leader_pb2.Submit) -> Response:
        """Send one request and wait for its answer; cancelling takes the request back.

        Raises: GroupUnavailable if the stream breaks before the answer.
        """
        if not self.is_open:
            raise GroupUnavailable(f"group {self.group} cannot be reached")
        self._sequence += 1
        sequence = submit.sequence = self._sequence
        answer = self._answers[sequence] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait(leader_pb2.ExecuteRequest(submit=submit))
        try:
            response: Response = await answer
            return response
        except asyncio.CancelledError:
            self._outbox.put_nowait(leader_pb2.ExecuteRequest(cancel=leader_pb2.Cancel(sequence=sequence)))
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
        outbox = Outbox()
        call = leader_pb2_grpc.LeaderStub(self._channel).Execute(self._requests(outbox))
        try:
            await call.wait_for_connection()
            self._outbox, self._sequence = outbox, 0
            self._is_open.set()
            async for response in call:
                self._hand_over(response)
        except grpc.aio.AioRpcError as error:
            log.debug("link_broken", group=self.group, address=self.address, error=error.details())
        finally:
            self._is_open.clear()
            call.cancel()
            outbox.put_nowait(None)
            self._fail_all()

    async def _requests(self, outbox: Outbox) -> AsyncIterator[leader_pb2.ExecuteRequest]:
        """What one stream sends; each has an outbox of its own, so that none sends for another."""
        yield leader_pb2.ExecuteRequest(open=leader_pb2.Open(group=self.group, router=self._router))
        while (request := await outbox.get()) is not None:
            yield request

    def _hand_over(self, message: leader_pb2.ExecuteResponse) -> None:
        kind = message.WhichOneof("message")
        if kind is None:
            return
        response: Response = getattr(message, kind)
        answer = self._answers.get(response.sequence)
        if answer is not None and not answer.done():
            answer.set_result(response)

    def _fail_all(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(GroupUnavailable(f"group {self.group} went away"))
