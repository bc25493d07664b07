"""The connections between routers and the leaders of one process: requests in, outcomes out, in any order."""

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog
from alpaserve.v1 import leader_pb2, router_pb2, tensor_pb2
from alpaserve_client.tensors import decode_tensor, encode_tensor
from google.protobuf.message import DecodeError

from services.core.errors import AlpaServeError, InvalidInput
from services.infra.messages import ENVELOPE_BYTES, Messages
from services.infra.security.links import OPEN_TO_ALL, Entrance
from services.worker.leader.flight import Admission, Failed, Failure, Flight, Outcome, Rejected, Served
from services.worker.leader.group import GroupLeader
from services.worker.leader.trace import FlightTrace

if TYPE_CHECKING:
    from services.infra.spans import Tracing

log = structlog.get_logger()

REASONS = {
    Failure.INVALID_INPUT: leader_pb2.FAILURE_REASON_INVALID_INPUT,
    Failure.NOT_LOADED: leader_pb2.FAILURE_REASON_NOT_LOADED,
    Failure.DRAINING: leader_pb2.FAILURE_REASON_DRAINING,
    Failure.DEADLINE_PASSED: leader_pb2.FAILURE_REASON_DEADLINE_PASSED,
    Failure.INTERNAL: leader_pb2.FAILURE_REASON_INTERNAL,
}

CLOSING_S = 0.2
_BROKEN = Failed(Failure.INTERNAL, "internal error", started=True)


class DataPlane:
    """Where routers come in: each of their connections names the group that it is for."""

    def __init__(
        self,
        leaders: Mapping[str, GroupLeader],
        max_message_bytes: int,
        entrance: Entrance = OPEN_TO_ALL,
        tracing: "Tracing | None" = None,
    ) -> None:
        self._tracing = tracing
        self._leaders = leaders
        self._entrance = entrance
        self._max_message_bytes = max_message_bytes
        self._received: dict[str, dict[str, int]] = {}
        self._doors: set[Door] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        """Let routers in, at a port of this host (0: a free one); returns it. Raises: OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Door(self), host, port, ssl=self._entrance.context)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Let nobody in any more, and end every connection."""
        if self._server is not None:
            self._server.close()
        doors = list(self._doors)
        for door in doors:
            door.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await asyncio.gather(*(door.is_lost.wait() for door in doors))

    def enter(self, door: "Door", opening: leader_pb2.Open) -> GroupLeader | None:
        """The leader of the group that is meant; None if it is not led here.

        Raises: Unauthenticated, PermissionDenied.
        """
        self._entrance.admit(opening)
        leader = self._leaders.get(opening.group)
        if leader is not None:
            self._doors.add(door)
            door.allow(self._max_message_bytes + ENVELOPE_BYTES)
            self._received.setdefault(leader.name, {})
        return leader

    def leave(self, door: "Door", leader: GroupLeader, router: str) -> None:
        self._doors.discard(door)
        self._received.get(leader.name, {}).pop(router, None)

    def can_send(self, num_bytes: int) -> bool:
        """Whether an answer of so many bytes would not break the connection for all."""
        if num_bytes <= self._max_message_bytes:
            return True
        log.error("outputs_too_large", num_bytes=num_bytes, max_message_bytes=self._max_message_bytes)
        return False

    def note_received(self, leader: GroupLeader, router: str, sequence: int) -> None:
        """A router that is behind may still ask a group that is gone."""
        if leader.name in self._received:
            self._received[leader.name][router] = sequence

    def trace_of(self, leader: GroupLeader, submit: leader_pb2.Submit) -> FlightTrace | None:
        """What goes on with the router's trace; None if this process records none."""
        if self._tracing is None:
            return None
        begun_s = monotonic()
        span = self._tracing.continued(
            "serve", submit.traceparent, begun_s, group=leader.name, request_id=submit.request_id
        )
        return FlightTrace(span, begun_s, leader.local_devices) if span.is_recorded else None

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


class Door(Messages[leader_pb2.ToLeader]):
    """One router's requests to one group: admitted as they come, answered as they end."""

    def __init__(self, plane: DataPlane) -> None:
        super().__init__(leader_pb2.ToLeader, ENVELOPE_BYTES)
        self._plane = plane
        self._leader: GroupLeader | None = None
        self._router = ""
        self._flights: dict[int, Flight] = {}

    def received(self, message: leader_pb2.ToLeader) -> None:
        kind = message.WhichOneof("message")
        if self._leader is None:
            self._enter(message)
        elif kind == "submit":
            self._submit(self._leader, message.submit)
        elif kind == "cancel":
            flight = self._flights.pop(message.cancel.sequence, None)
            if flight is not None:
                self._leader.abandon(flight)

    def lost(self) -> None:
        """Nobody hears the answers to what is still under way."""
        flights, self._flights = self._flights, {}
        if self._leader is None:
            return
        for flight in flights.values():
            self._leader.abandon(flight)
        self._plane.leave(self, self._leader, self._router)

    def _enter(self, message: leader_pb2.ToLeader) -> None:
        if not message.HasField("open"):
            self._refuse("the first message of a connection must be open")
            return
        self._router = message.open.router
        try:
            self._leader = self._plane.enter(self, message.open)
        except AlpaServeError as error:
            log.warning("router_refused", router=self._router, why=str(error))
            self._refuse(str(error))
            return
        if self._leader is None:
            self._refuse(f"group {message.open.group!r} is not led here")
        else:
            self.send(leader_pb2.FromLeader(opened=leader_pb2.Opened()))

    def _refuse(self, why: str) -> None:
        self.send(leader_pb2.FromLeader(refused=leader_pb2.Refused(message=why)))
        self.close()

    def _submit(self, leader: GroupLeader, submit: leader_pb2.Submit) -> None:
        self._plane.note_received(leader, self._router, submit.sequence)
        trace = self._plane.trace_of(leader, submit) if submit.traceparent else None
        try:
            admission = admitted(leader, submit)
        except Exception:
            log_of(trace).exception("request_failed", group=leader.name, request_id=submit.request_id)
            admission = _BROKEN
        if trace is not None:
            trace.admitted(admission)
        if isinstance(admission, Flight):
            self._flights[submit.sequence] = admission
            admission.when_over(partial(self._ended, leader, submit.sequence, trace))
            return
        self._answer(leader, submit.sequence, admission)
        if trace is not None:
            trace.ended(admission)

    def _ended(self, leader: GroupLeader, sequence: int, trace: FlightTrace | None, outcome: Outcome | None) -> None:
        """A request that was taken back, or whose router is gone, gets no answer."""
        if self._flights.pop(sequence, None) is not None and outcome is not None:
            try:
                self._answer(leader, sequence, outcome)
            except Exception:
                log_of(trace).exception("answer_failed", group=leader.name)
                self._fail(sequence, _BROKEN)
        if trace is not None:
            trace.ended(outcome)

    def _answer(self, leader: GroupLeader, sequence: int, outcome: Outcome) -> None:
        if isinstance(outcome, Served):
            self._serve(sequence, outcome)
        elif isinstance(outcome, Rejected):
            self._reject(leader, sequence, outcome)
        else:
            self._fail(sequence, outcome)

    def _serve(self, sequence: int, outcome: Served) -> None:
        response = router_pb2.InferResponse(
            queue_time_s=outcome.queue_time_s,
            execution_time_s=outcome.execution_time_s,
            batch_size=outcome.batch_size,
            group_time_s=outcome.group_time_s,
        )
        for begin_s, end_s, profiled_s in outcome.stages:
            response.stages.add(begin_s=begin_s, end_s=end_s, profiled_s=profiled_s)
        for name, array in outcome.outputs.items():
            response.outputs[name].CopyFrom(encode_tensor(array))
        content = response.SerializeToString()
        if not self._plane.can_send(len(content)):
            self._fail(sequence, Failed(Failure.INTERNAL, "outputs too large", started=True))
            return
        served = leader_pb2.Served(sequence=sequence, response=content, predicted_s=outcome.predicted_s)
        self.send(leader_pb2.FromLeader(served=served))

    def _reject(self, leader: GroupLeader, sequence: int, outcome: Rejected) -> None:
        rejected = leader_pb2.Rejected(
            sequence=sequence,
            predicted_s=outcome.predicted_s,
            queue_full=outcome.queue_full,
            state=self._plane.queue_state(leader),
        )
        self.send(leader_pb2.FromLeader(rejected=rejected))

    def _fail(self, sequence: int, outcome: Failed) -> None:
        failed = leader_pb2.Failed(
            sequence=sequence, reason=REASONS[outcome.reason], message=outcome.message, started=outcome.started
        )
        self.send(leader_pb2.FromLeader(failed=failed))


def log_of(trace: FlightTrace | None) -> Any:
    """A log whose lines name the trace."""
    return log if trace is None else log.bind(trace_id=trace.trace_id)


def admitted(leader: GroupLeader, submit: leader_pb2.Submit) -> Admission:
    """What becomes of a request whose tensors nobody has looked at yet."""
    try:
        request = router_pb2.InferRequest.FromString(submit.request)
    except DecodeError:
        return Failed(Failure.INVALID_INPUT, f"{len(submit.request)} bytes that are no InferRequest")
    inputs, signature = {}, leader.signature(request.model)
    for name, tensor in request.inputs.items():
        try:
            if tensor.dtype == tensor_pb2.DATA_TYPE_BYTES and signature is not None:
                signature.check_takes_strings(name)
            inputs[name] = decode_tensor(tensor)
        except InvalidInput as error:
            return Failed(Failure.INVALID_INPUT, str(error))
        except ValueError as error:
            return Failed(Failure.INVALID_INPUT, f"input {name!r}: {error}")
    remaining_s = submit.remaining_s if submit.HasField("remaining_s") else math.inf
    return leader.admit(request.model, inputs, remaining_s)
