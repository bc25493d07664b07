"""The stream between a router and the leaders of one process: requests in, outcomes out, in any order."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from functools import partial
from time import monotonic
from typing import Any

import grpc
import structlog
from alpaserve.v1 import leader_pb2, leader_pb2_grpc
from alpaserve_client.tensors import decode_tensor, encode_tensor
from numpy.typing import NDArray

from services.core.errors import GroupUnavailable, InvalidArgument
from services.infra.background import background
from services.infra.outbox import Outbox
from services.worker.leader.flight import Failed, Failure, Flight, Outcome, Rejected, Served
from services.worker.leader.group import GroupLeader

log = structlog.get_logger()

REASONS = {
    Failure.INVALID_INPUT: leader_pb2.FAILURE_REASON_INVALID_INPUT,
    Failure.NOT_LOADED: leader_pb2.FAILURE_REASON_NOT_LOADED,
    Failure.DRAINING: leader_pb2.FAILURE_REASON_DRAINING,
    Failure.DEADLINE_PASSED: leader_pb2.FAILURE_REASON_DEADLINE_PASSED,
    Failure.INTERNAL: leader_pb2.FAILURE_REASON_INTERNAL,
}

# At most what an answer takes on the wire beside its outputs, clocks or message.
_ANSWER_BYTES = 256
_BROKEN = Failed(Failure.INTERNAL, "internal error", started=True)


class LeaderServicer(leader_pb2_grpc.LeaderServicer):
    """Routes each stream to the group that it names."""

    def __init__(self, leaders: Mapping[str, GroupLeader], max_message_bytes: int) -> None:
        self._leaders = leaders
        self._max_message_bytes = max_message_bytes
        self._received: dict[str, dict[str, int]] = {}

    async def Execute(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[leader_pb2.ExecuteRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("message") != "open":
            raise InvalidArgument("the first message of a stream must be open")
        leader = self._leaders.get(first.open.group)
        if leader is None:
            raise GroupUnavailable(f"group {first.open.group!r} is not led here")
        received = self._received.setdefault(leader.name, {})
        stream = Stream(self, leader, first.open.router)
        try:
            async with background(stream.write(context)):
                await stream.read(request_iterator)
        finally:
            stream.abandon_all()
            received.pop(first.open.router, None)

    def can_send(self, num_bytes: int) -> bool:
        """Whether an answer of so many bytes would not break the stream for all."""
        if num_bytes <= self._max_message_bytes:
            return True
        log.error("outputs_too_large", num_bytes=num_bytes, max_message_bytes=self._max_message_bytes)
        return False

    def note_received(self, leader: GroupLeader, router: str, sequence: int) -> None:
        """A router that is behind may still ask a group that is gone."""
        if leader.name in self._received:
            self._received[leader.name][router] = sequence

    def forget(self, group: str) -> None:
        self._received.pop(group, None)

    def queue_state(self, leader: GroupLeader) -> leader_pb2.QueueState:
        """The leader's view as of now."""
        now_s = monotonic()
        return leader_pb2.QueueState(
            group=leader.name,
            free_in_s=[clock - now_s for clock in leader.clocks.planned(now_s)],
            num_in_flight=len(leader.clocks.flights),
            received=self._received.get(leader.name, {}),
        )


class Stream:
    """One router's requests to one group: admitted as they come, answered as they end."""

    def __init__(self, servicer: LeaderServicer, leader: GroupLeader, router: str) -> None:
        self._servicer = servicer
        self._leader = leader
        self._router = router
        self._flights: dict[int, Flight] = {}
        self._outbox = Outbox(leader_pb2.ExecuteResponse)
        self._written = asyncio.Event()

    async def read(self, requests: AsyncIterator[leader_pb2.ExecuteRequest]) -> None:
        """Until the router closes its side, and what it sent has an outcome."""
        async for request in requests:
            self._take(request)
            for one in request.more:
                self._take(one)
        while self._flights:
            await asyncio.wait([flight.outcome for flight in self._flights.values()])
        self._outbox.close()
        await self._written.wait()

    async def write(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Send the answers until there will be none any more."""
        while (bundle := await self._outbox.take()) is not None:
            await context.write(bundle)
        self._written.set()

    def abandon_all(self) -> None:
        """Nobody hears the answers to what is still under way."""
        flights, self._flights = self._flights, {}
        for flight in flights.values():
            self._leader.abandon(flight)

    def _take(self, request: leader_pb2.ExecuteRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "submit":
            self._submit(request.submit)
        elif kind == "cancel":
            flight = self._flights.pop(request.cancel.sequence, None)
            if flight is not None:
                self._leader.abandon(flight)

    def _submit(self, submit: leader_pb2.Submit) -> None:
        self._servicer.note_received(self._leader, self._router, submit.sequence)
        try:
            admission = self._admission(submit)
        except Exception:
            log.exception("request_failed", group=self._leader.name, model=submit.model, request_id=submit.request_id)
            admission = _BROKEN
        if isinstance(admission, Flight):
            self._flights[submit.sequence] = admission
            admission.outcome.add_done_callback(partial(self._ended, submit.sequence))
        else:
            self._answer(submit.sequence, admission)

    def _admission(self, submit: leader_pb2.Submit) -> Flight | Rejected | Failed:
        try:
            inputs = {name: decode_tensor(tensor) for name, tensor in submit.inputs.items()}
        except ValueError as error:
            return Failed(Failure.INVALID_INPUT, str(error))
        remaining_s = submit.remaining_s if submit.HasField("remaining_s") else math.inf
        return self._leader.admit(submit.model, inputs, remaining_s)

    def _ended(self, sequence: int, outcome: asyncio.Future[Outcome]) -> None:
        """A request that was taken back, or whose router is gone, gets no answer."""
        if self._flights.pop(sequence, None) is None or outcome.cancelled():
            return
        try:
            self._answer(sequence, outcome.result())
        except Exception:
            log.exception("answer_failed", group=self._leader.name)
            self._fail(sequence, _BROKEN)

    def _answer(self, sequence: int, outcome: Outcome) -> None:
        if isinstance(outcome, Served):
            self._serve(sequence, outcome)
        elif isinstance(outcome, Rejected):
            self._reject(sequence, outcome)
        else:
            self._fail(sequence, outcome)

    def _serve(self, sequence: int, outcome: Served) -> None:
        tensors = {name: encode_tensor(array) for name, array in outcome.outputs.items()}
        num_bytes = _ANSWER_BYTES + sum(map(_num_bytes, outcome.outputs.items()))
        if not self._servicer.can_send(num_bytes):
            self._fail(sequence, Failed(Failure.INTERNAL, "outputs too large", started=True))
            return
        served = self._outbox.add(num_bytes).served
        served.sequence = sequence
        served.queue_time_s = outcome.queue_time_s
        served.execution_time_s = outcome.execution_time_s
        served.predicted_s = outcome.predicted_s
        served.batch_size = outcome.batch_size
        for name, tensor in tensors.items():
            served.outputs[name].CopyFrom(tensor)

    def _reject(self, sequence: int, outcome: Rejected) -> None:
        state = self._servicer.queue_state(self._leader)
        rejected = self._outbox.add(_ANSWER_BYTES + state.ByteSize()).rejected
        rejected.sequence = sequence
        rejected.predicted_s = outcome.predicted_s
        rejected.queue_full = outcome.queue_full
        rejected.state.CopyFrom(state)

    def _fail(self, sequence: int, outcome: Failed) -> None:
        failed = self._outbox.add(_ANSWER_BYTES + len(outcome.message)).failed
        failed.sequence = sequence
        failed.reason = REASONS[outcome.reason]
        failed.message = outcome.message
        failed.started = outcome.started


def _num_bytes(tensor: tuple[str, NDArray[Any]]) -> int:
    """At most what a named tensor takes on the wire."""
    name, array = tensor
    return 32 + 4 * len(name) + 10 * array.ndim + array.nbytes
