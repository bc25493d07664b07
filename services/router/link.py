"""The connection from this router to one group's leader."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from alpaserve.v1 import leader_pb2

from services.core.deployment import DeployedGroup
from services.core.errors import GroupUnavailable
from services.infra.background import background
from services.infra.messages import ENVELOPE_BYTES, Messages
from services.infra.security.links import NO_CREDENTIALS, Credentials
from services.router.call import Call

log = structlog.get_logger()

RECONNECT_S, CONNECT_WITHIN_S = 0.1, 1.0
# The longest wait before a leader that refuses is asked again.
REFUSED_WAIT_S = 1.0
Response = leader_pb2.Served | leader_pb2.Rejected | leader_pb2.Failed


class Unsent(GroupUnavailable):
    """The request never left this router."""


class LeaderConnection(Messages[leader_pb2.FromLeader]):
    """Requests out, in any order one answer to each."""

    def __init__(self, opening: leader_pb2.Open, max_message_bytes: int, on_change: Callable[[], None]) -> None:
        super().__init__(leader_pb2.FromLeader, max_message_bytes)
        self.is_open = False
        self.num_submitted = 0
        self.refusal = ""
        self._opening = opening
        self._group = opening.group
        self._on_change = on_change
        self._answers: dict[int, asyncio.Future[Response]] = {}

    async def submit(self, call: Call, remaining_s: float) -> Response:
        """Send one request and wait for its answer; cancelling takes the request back.

        Raises: GroupUnavailable if the connection breaks before the answer, Unsent if it had not taken the request.
        """
        self.num_submitted += 1
        sequence = self.num_submitted
        message = leader_pb2.ToLeader()
        submit = message.submit
        submit.sequence = sequence
        submit.request_id = call.request_id
        submit.request = call.content
        if not math.isinf(remaining_s):
            submit.remaining_s = remaining_s
        if call.trace is not None:
            submit.traceparent = call.trace.traceparent
        answer = self._answers[sequence] = asyncio.get_running_loop().create_future()
        number = self.send(message)
        try:
            response: Response = await answer
            return response
        except asyncio.CancelledError:
            if not self.withdraw(number):
                self.send(leader_pb2.ToLeader(cancel=leader_pb2.Cancel(sequence=sequence)))
            raise
        finally:
            del self._answers[sequence]

    async def answered(self) -> None:
        """Wait until every request has its answer."""
        while self._answers:
            await asyncio.wait(list(self._answers.values()))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.send(leader_pb2.ToLeader(open=self._opening))

    def received(self, message: leader_pb2.FromLeader) -> None:
        kind = message.WhichOneof("message")
        if kind == "opened":
            self.is_open = True
            self._on_change()
        elif kind == "refused":
            self.refusal = message.refused.message
            self.close()
        elif kind is not None:
            response: Response = getattr(message, kind)
            answer = self._answers.get(response.sequence)
            if answer is not None and not answer.done():
                answer.set_result(response)

    def lost(self) -> None:
        self.is_open = False
        self._on_change()
        unsent = {message.submit.sequence for message in self.waiting()}
        for sequence, answer in self._answers.items():
            if not answer.done():
                kind = Unsent if sequence in unsent else GroupUnavailable
                answer.set_exception(kind(f"group {self._group} went away"))


class GroupLink:
    """Keeps a connection to a leader, from `run` to `close`. `on_change` is called when it opens and when it breaks."""

    def __init__(
        self,
        group: DeployedGroup,
        router: str,
        max_message_bytes: int,
        on_change: Callable[[], None],
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self.group = group.name
        self.address = group.address
        self._credentials = credentials
        self._router = router
        self._max_message_bytes = max_message_bytes + ENVELOPE_BYTES
        self._on_change = on_change
        self._connection: LeaderConnection | None = None
        self._is_open = asyncio.Event()
        self._is_closing = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._connection is not None and self._connection.is_open

    async def opened(self, timeout_s: float) -> bool:
        """Wait until the leader can be reached; false if it cannot."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_open.wait(), timeout_s)
        return self.is_open

    def next_sequence(self) -> int:
        return self._connection.num_submitted + 1 if self._connection is not None else 0

    def submit(self, call: Call, remaining_s: float) -> Awaitable[Response]:
        """As a connection does. Raises: Unsent if there is none."""
        if self._connection is None or not self._connection.is_open:
            raise Unsent(f"group {self.group} cannot be reached")
        return self._connection.submit(call, remaining_s)

    def close(self) -> None:
        """End the connection once every request has its answer."""
        self._is_closing.set()

    async def run(self) -> None:
        """Keep the connection until `close`."""
        async with background(self._keep()):
            await self._is_closing.wait()
            if self._connection is not None:
                await self._connection.answered()

    async def _keep(self) -> None:
        """Connect again whenever the connection ends, and ever more rarely while the leader refuses."""
        wait_s, refusal = RECONNECT_S, ""
        while True:
            why = await self._hold()
            if why and why != refusal:
                log.warning("leader_refused", group=self.group, address=self.address, why=why)
            refusal, wait_s = why, min(2 * wait_s, REFUSED_WAIT_S) if why else RECONNECT_S
            await asyncio.sleep(wait_s)

    async def _hold(self) -> str:
        """Hold a connection until it ends; returns why the leader refused it, empty if it did not."""
        connection = await self._connected()
        if connection is None:
            return ""
        try:
            await connection.is_lost.wait()
        finally:
            connection.close()
        return connection.refusal

    async def _connected(self) -> LeaderConnection | None:
        host, _, port = self.address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                _, connection = await loop.create_connection(
                    self._new_connection, host, int(port), ssl=self._credentials.context
                )
                return connection
        except (OSError, TimeoutError) as error:
            log.debug("leader_not_reached", group=self.group, address=self.address, error=str(error))
            return None

    def _new_connection(self) -> LeaderConnection:
        opening = leader_pb2.Open(group=self.group, router=self._router, token=self._credentials.token())
        self._connection = LeaderConnection(opening, self._max_message_bytes, self._changed)
        return self._connection

    def _changed(self) -> None:
        if self.is_open:
            self._is_open.set()
        else:
            self._is_open.clear()
        self._on_change()
