"""The stream between a router and the leaders of one process: requests in, outcomes out, in any order."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Any

import grpc
import structlog
from alpaserve.v1 import leader_pb2, leader_pb2_grpc
from alpaserve_client.tensors import decode_tensor, encode_tensor

from services.core.errors import GroupUnavailable, InvalidArgument
from services.worker.leader.flight import Failed, Failure, Outcome, Rejected, Served
from services.worker.leader.group import GroupLeader

log = structlog.get_logger()

REASONS = {
    Failure.INVALID_INPUT: leader_pb2.FAILURE_REASON_INVALID_INPUT,
    Failure.NOT_LOADED: leader_pb2.FAILURE_REASON_NOT_LOADED,
    Failure.DRAINING: leader_pb2.FAILURE_REASON_DRAINING,
    Failure.DEADLINE_PASSED: leader_pb2.FAILURE_REASON_DEADLINE_PASSED,
    Failure.INTERNAL: leader_pb2.FAILURE_REASON_INTERNAL,
}


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
        try:
            async with asyncio.TaskGroup() as tasks:
                await Stream(self, leader, first.open.router, context, tasks).read(request_iterator)
        finally:
            received.pop(first.open.router, None)

    def sendable(self, response: leader_pb2.ExecuteResponse, sequence: int) -> leader_pb2.ExecuteResponse:
        """The response, or the failure that stands for one that would break the stream for all."""
        if response.ByteSize() <= self._max_message_bytes:
            return response
        log.error("outputs_too_large", num_bytes=response.ByteSize(), max_message_bytes=self._max_message_bytes)
        reason = leader_pb2.FAILURE_REASON_INTERNAL
        failed = leader_pb2.Failed(sequence=sequence, reason=reason, message="outputs too large", started=True)
        return leader_pb2.ExecuteResponse(failed=failed)

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
    """One router's requests to one group. Writes are serialised by a task that owns them."""

    def __init__(
        self,
        servicer: LeaderServicer,
        leader: GroupLeader,
        router: str,
        context: grpc.aio.ServicerContext[Any, Any],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._servicer = servicer
        self._leader = leader
        self._router = router
        self._context = context
        self._tasks = tasks
        self._running: dict[int, asyncio.Task[None]] = {}
        self._outbox: asyncio.Queue[leader_pb2.ExecuteResponse] = asyncio.Queue()

    async def read(self, requests: AsyncIterator[leader_pb2.ExecuteRequest]) -> None:
        """Until the router closes its side, and what it sent has an outcome."""
        writer = self._tasks.create_task(self._write())
        async for request in requests:
            if request.WhichOneof("message") == "submit":
                submit = request.submit
                self._running[submit.sequence] = self._tasks.create_task(self._run(submit))
            elif request.WhichOneof("message") == "cancel":
                running = self._running.get(request.cancel.sequence)
                if running is not None:
                    running.cancel()
        if self._running:
            await asyncio.wait(list(self._running.values()))
        await self._outbox.join()
        writer.cancel()

    async def _write(self) -> None:
        while True:
            await self._context.write(await self._outbox.get())
            self._outbox.task_done()

    async def _run(self, submit: leader_pb2.Submit) -> None:
        try:
            self._servicer.note_received(self._leader, self._router, submit.sequence)
            outcome = await self._execute(submit)
            response = self._response(submit.sequence, outcome)
            self._outbox.put_nowait(self._servicer.sendable(response, submit.sequence))
        except Exception:
            log.exception("request_failed", group=self._leader.name, model=submit.model, request_id=submit.request_id)
            failed = Failed(Failure.INTERNAL, "internal error", started=True)
            self._outbox.put_nowait(self._response(submit.sequence, failed))
        finally:
            self._running.pop(submit.sequence, None)

    async def _execute(self, submit: leader_pb2.Submit) -> Outcome:
        try:
            inputs = {name: decode_tensor(tensor) for name, tensor in submit.inputs.items()}
        except ValueError as error:
            return Failed(Failure.INVALID_INPUT, str(error))
        remaining_s = submit.remaining_s if submit.HasField("remaining_s") else math.inf
        return await self._leader.execute(submit.model, inputs, remaining_s)

    def _response(self, sequence: int, outcome: Outcome) -> leader_pb2.ExecuteResponse:
        if isinstance(outcome, Served):
            served = leader_pb2.Served(
                sequence=sequence,
                outputs={name: encode_tensor(array) for name, array in outcome.outputs.items()},
                queue_time_s=outcome.queue_time_s,
                execution_time_s=outcome.execution_time_s,
                predicted_s=outcome.predicted_s,
                batch_size=outcome.batch_size,
            )
            return leader_pb2.ExecuteResponse(served=served)
        if isinstance(outcome, Rejected):
            rejected = leader_pb2.Rejected(
                sequence=sequence,
                predicted_s=outcome.predicted_s,
                queue_full=outcome.queue_full,
                state=self._servicer.queue_state(self._leader),
            )
            return leader_pb2.ExecuteResponse(rejected=rejected)
        failed = leader_pb2.Failed(
            sequence=sequence, reason=REASONS[outcome.reason], message=outcome.message, started=outcome.started
        )
        return leader_pb2.ExecuteResponse(failed=failed)
