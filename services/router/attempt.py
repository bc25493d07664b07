"""One request on its way: to a group, and to another where that is safe."""

import asyncio
import math
from collections.abc import Set as AbstractSet
from time import monotonic
from typing import Any

from alpaserve.v1 import leader_pb2

from services.core.errors import (
    AlpaServeError,
    DeadlinePassed,
    GroupUnavailable,
    InvalidInput,
    OutcomeUnknown,
    SloUnattainable,
)
from services.router.call import Call, Reply
from services.router.groups import UNREACHED_WAIT_S, Groups
from services.router.link import Unsent
from services.router.margin import Margin
from services.router.trace import DispatchTrace
from services.router.view import GroupView, PlacementView

RETURN_GRACE_S = 30.0


class Attempt:
    """One request and the groups it has tried."""

    def __init__(self, groups: Groups, call: Call, deadline_s: float, idempotent: bool, margin: Margin) -> None:
        self._groups = groups
        self._call = call
        self._deadline_s = deadline_s
        self._idempotent = idempotent
        self._margin = margin
        self._tried: set[str] = set()
        self._gone: set[str] = set()
        self._last: AlpaServeError | None = None
        self._was_leaving = False
        self._asked = ""

    @property
    def was_late(self) -> bool:
        """Whether the group that was given the request took too long, and nothing that is broken tells why."""
        if self._gone or self._asked in self._groups.unreachable():
            return False
        return self._groups.view.is_heard(self._asked, monotonic())

    async def run(self) -> Reply:
        """Until a group serves the request, or no untried group may."""
        while True:
            view = self._groups.view
            view.model(self._call.model)
            now_s = monotonic()
            if (back_s := view.back_s(self._call.model)) is not None:
                await self._wait_for_return(back_s)
                continue
            group = view.dispatch(self._call.model, now_s, self._avoided())
            if group is None or group.name in self._tried:
                await self._give_up_or_wait(view)
                continue
            self._refuse_if_full(view, group, now_s)
            self._tried.add(group.name)
            trace = self._call.trace
            reply = await (self._ask(view, group) if trace is None else self._ask_traced(trace, view, group))
            if reply is not None:
                return reply

    def _refuse_if_full(self, view: PlacementView, group: GroupView, now_s: float) -> None:
        """Spare a leader the requests that it is known to reject: under overload these are most.

        Raises: SloUnattainable.
        """
        full_s = view.full_s(group, self._call.model, now_s)
        left_s = self._deadline_s - now_s
        if 0 < left_s - self._margin_s(now_s) < full_s:
            raise self._note(self._unattainable(now_s - self._call.arrival_s + full_s))

    def _margin_s(self, now_s: float) -> float:
        if math.isinf(self._deadline_s):
            return 0.0
        return self._margin.of(self._deadline_s - self._call.arrival_s, now_s)

    def _avoided(self) -> AbstractSet[str]:
        unreachable = self._groups.unreachable()
        return self._gone | unreachable if self._gone else unreachable

    async def _wait_for_return(self, back_s: float) -> None:
        """A transition has left the model without a group for a while: wait, if it should be back in time."""
        now_s, arrival_s, model = monotonic(), self._call.arrival_s, self._call.model
        late_s = max(back_s, now_s) - self._deadline_s
        if late_s > 0:
            allowed_s = self._deadline_s - arrival_s
            raise SloUnattainable(
                f"model {model!r} should be back in {back_s - now_s:.6f} s, allowed are {allowed_s:.6f} s",
                back_s - arrival_s,
                allowed_s,
                late_s,
            )
        try:
            async with asyncio.timeout(max(0.0, back_s - now_s) + RETURN_GRACE_S):
                await self._groups.next_view()
        except TimeoutError:
            raise GroupUnavailable(f"model {model!r} has no group yet") from None

    async def _give_up_or_wait(self, view: PlacementView) -> None:
        """A group that is leaving means that a newer placement is on its way: wait for it."""
        last = self._last or GroupUnavailable(f"no group of model {self._call.model!r} can be reached")
        if not self._was_leaving or isinstance(last, SloUnattainable | OutcomeUnknown):
            raise last
        try:
            async with asyncio.timeout(UNREACHED_WAIT_S):
                while self._groups.view is view:
                    await self._groups.next_view()
        except TimeoutError:
            raise last from None
        self._tried.clear()
        self._gone.clear()

    async def _ask_traced(self, trace: DispatchTrace, view: PlacementView, group: GroupView) -> Reply | None:
        with trace.attempt(group.name) as asked:
            reply = await self._ask(view, group)
            asked.error = self._last if reply is None else None
            return reply

    async def _ask(self, view: PlacementView, group: GroupView) -> Reply | None:
        """The group's answer; None if another group may be tried."""
        link = self._groups.link(group.name)
        now_s = monotonic()
        sequence = link.next_sequence()
        self._asked = group.name
        view.sent(group, self._call.model, sequence, now_s)
        try:
            response: Any = await link.submit(self._call, self._deadline_s - self._margin_s(now_s) - now_s)
        except Unsent as error:
            self._gone.add(group.name)
            self._note(error)
            return None
        except GroupUnavailable as error:
            self._went_away(group, error)
            return None
        finally:
            view.ended(group, sequence)
        if isinstance(response, leader_pb2.Served):
            predicted_s = now_s - self._call.arrival_s + response.predicted_s
            return Reply(response, view.deployment.version, group.name, predicted_s, monotonic())
        if isinstance(response, leader_pb2.Rejected):
            self._rejected(response, now_s)
        else:
            self._failed(group, response)
        return None

    def _note(self, why: AlpaServeError) -> AlpaServeError:
        """Why the request fails, should no other group serve it; one that may have run stays one that may have."""
        if not isinstance(self._last, OutcomeUnknown):
            self._last = why
        return self._last

    def _went_away(self, group: GroupView, error: GroupUnavailable) -> None:
        self._gone.add(group.name)
        self._last = OutcomeUnknown(f"{error}; the request may have run", idempotent=self._idempotent)
        if not self._idempotent:
            raise self._last from None

    def _rejected(self, rejected: leader_pb2.Rejected, asked_s: float) -> None:
        self._groups.report(rejected.state)
        predicted_s = asked_s - self._call.arrival_s + rejected.predicted_s
        if rejected.queue_full and math.isinf(self._deadline_s):
            self._note(self._unattainable(predicted_s, "the queue is full", rejected.predicted_s))
        else:
            self._note(self._unattainable(predicted_s, "the queue is full" if rejected.queue_full else ""))

    def _unattainable(self, predicted_s: float, why: str = "", retry_after_s: float | None = None) -> SloUnattainable:
        allowed_s = self._deadline_s - self._margin_s(monotonic()) - self._call.arrival_s
        why = why or f"predicted to take {predicted_s:.6f} s"
        return SloUnattainable(
            f"model {self._call.model!r}: {why}, allowed are {allowed_s:.6f} s",
            predicted_s,
            allowed_s,
            max(0.0, predicted_s - allowed_s) if retry_after_s is None else retry_after_s,
        )

    def _failed(self, group: GroupView, failed: leader_pb2.Failed) -> None:
        if failed.reason == leader_pb2.FAILURE_REASON_INVALID_INPUT:
            raise InvalidInput(f"model {self._call.model!r}: {failed.message}")
        if failed.reason == leader_pb2.FAILURE_REASON_DEADLINE_PASSED:
            raise DeadlinePassed(failed.message)
        if failed.reason == leader_pb2.FAILURE_REASON_INTERNAL:
            raise RuntimeError(f"group {group.name}: {failed.message}")
        if failed.started:
            self._went_away(group, GroupUnavailable(failed.message))
        else:
            self._gone.add(group.name)
            self._was_leaving = True
            self._note(GroupUnavailable(failed.message))
