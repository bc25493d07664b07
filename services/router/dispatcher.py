"""The life of a request in the router: dispatch, hand to the leader, dispatch again where that is safe."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog
from alpaserve.v1 import leader_pb2

from services.core.deployment import DeployedGroup, Deployment
from services.core.errors import (
    AlpaServeError,
    DeadlinePassed,
    GroupUnavailable,
    InvalidInput,
    NotPlaced,
    OutcomeUnknown,
    SloUnattainable,
)
from services.infra.expiry import Expiry
from services.router.call import Call, Reply
from services.router.link import GroupLink, Unsent
from services.router.margin import Margin
from services.router.view import GroupView, PlacementView, Report

log = structlog.get_logger()

UNREACHED_WAIT_S = 1.0
RETURN_GRACE_S = 30.0
REGISTRY_WAIT_S = 0.5


class Dispatcher:
    """Requests to groups, over the current view and one link per group."""

    def __init__(self, router: str, max_message_bytes: int, is_registered: Callable[[str], Awaitable[bool]]) -> None:
        self._router = router
        self._max_message_bytes = max_message_bytes
        self._is_registered = is_registered
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._links: dict[str, GroupLink] = {}
        self._unreachable: set[str] | None = None
        self._margins: dict[str, Margin] = {}
        self._followed = asyncio.Event()
        self.view = PlacementView(Deployment())
        self.arrivals: Counter[str] = Counter()

    async def follow(self, deployment: Deployment) -> None:
        """Serve under a placement from now on; what is under way ends where it is.

        A store that came back empty takes no placement away: the groups run on.
        """
        if not deployment.version and self.view.deployment.version:
            log.warning("placement_missing", placement_version=self.view.deployment.version)
            return
        for group in deployment.groups:
            if group.name not in self._links:
                link = self._links[group.name] = self._new_link(group)
                self._tasks[group.name] = asyncio.create_task(link.run())
        view = PlacementView(deployment, monotonic())
        new = [self._links[name] for name in view.names if name not in self.view.groups]
        await asyncio.gather(*(link.opened(UNREACHED_WAIT_S) for link in new))
        view.inherit(self.view, monotonic())
        self.view = view
        self._followed.set()
        self._followed = asyncio.Event()
        for name in [name for name in self._links if name not in view.groups]:
            self._links.pop(name).close()
        self._forget_reachability()
        self._tasks = {name: task for name, task in self._tasks.items() if not task.done()}
        log.info("placement_followed", placement_version=deployment.version, num_groups=len(view.groups))

    async def close(self) -> None:
        """End every link."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def report(self, state: leader_pb2.QueueState) -> None:
        """Take a leader's clocks."""
        report = Report(state.free_in_s, state.num_in_flight, state.received.get(self._router, 0))
        self.view.report(state.group, report, monotonic())

    async def infer(self, call: Call) -> Reply:
        """Raises: what DESIGN's table of errors names, each a child of AlpaServeError."""
        await self._count(call.model)
        model = self.view.model(call.model)
        slo_s = model.allowed_s if call.slo_s is None else call.slo_s
        deadline_s = min(call.arrival_s + slo_s, call.expires_s)
        attempt = Attempt(self, call, deadline_s, model.idempotent)
        if math.isinf(deadline_s):
            return await attempt.run()
        try:
            with Expiry(deadline_s - monotonic()):
                return await attempt.run()
        except TimeoutError:
            if attempt.was_late:
                self.margin(call.model).note_late(deadline_s - call.arrival_s, monotonic())
            raise DeadlinePassed(f"the deadline of {deadline_s - call.arrival_s:.6f} s passed") from None

    async def _count(self, model: str) -> None:
        """Count an arrival, also of a model that no group can serve: plans are made for what is asked.

        Raises: NotPlaced for a model that is registered and that no placement has told of yet.
        """
        if model in self.view.deployment.models:
            self.arrivals[model] += 1
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(REGISTRY_WAIT_S):
                if await self._is_registered(model):
                    self.arrivals[model] += 1
                    raise NotPlaced(f"model {model!r} is placed nowhere")

    async def next_view(self) -> None:
        """Until another placement is followed."""
        await self._followed.wait()

    def margin(self, model: str) -> Margin:
        """What deadlines of a model are brought forward by."""
        return self._margins.setdefault(model, Margin())

    def link(self, group: str) -> GroupLink:
        return self._links[group]

    def unreachable(self) -> AbstractSet[str]:
        """The groups whose leaders cannot be asked now."""
        if self._unreachable is None:
            self._unreachable = {name for name, link in self._links.items() if not link.is_open}
        return self._unreachable

    def _new_link(self, group: DeployedGroup) -> GroupLink:
        return GroupLink(group.name, group.address, self._router, self._max_message_bytes, self._forget_reachability)

    def _forget_reachability(self) -> None:
        self._unreachable = None


class Attempt:
    """One request and the groups it has tried."""

    def __init__(self, dispatcher: Dispatcher, call: Call, deadline_s: float, idempotent: bool) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self._deadline_s = deadline_s
        self._idempotent = idempotent
        self._tried: set[str] = set()
        self._gone: set[str] = set()
        self._last: AlpaServeError = GroupUnavailable(f"no group of model {call.model!r} can be reached")
        self._was_leaving = False
        self._asked = ""

    @property
    def was_late(self) -> bool:
        """Whether the group that was given the request took too long, and nothing that is broken tells why."""
        if self._gone or self._asked in self._dispatcher.unreachable():
            return False
        return self._dispatcher.view.is_heard(self._asked, monotonic())

    async def run(self) -> Reply:
        """Until a group serves the request, or no untried group may."""
        while True:
            view = self._dispatcher.view
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
            reply = await self._ask(view, group)
            if reply is not None:
                return reply

    def _refuse_if_full(self, view: PlacementView, group: GroupView, now_s: float) -> None:
        """Spare a leader the requests that it is known to reject: under overload these are most.

        Raises: SloUnattainable.
        """
        full_s = view.full_s(group, self._call.model, now_s)
        left_s = self._deadline_s - now_s
        if 0 < left_s - self._margin_s(now_s) < full_s:
            raise self._unattainable(now_s - self._call.arrival_s + full_s)

    def _margin_s(self, now_s: float) -> float:
        if math.isinf(self._deadline_s):
            return 0.0
        return self._dispatcher.margin(self._call.model).of(self._deadline_s - self._call.arrival_s, now_s)

    def _avoided(self) -> AbstractSet[str]:
        unreachable = self._dispatcher.unreachable()
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
                await self._dispatcher.next_view()
        except TimeoutError:
            raise GroupUnavailable(f"model {model!r} has no group yet") from None

    async def _give_up_or_wait(self, view: PlacementView) -> None:
        """A group that is leaving means that a newer placement is on its way: wait for it."""
        if not self._was_leaving or isinstance(self._last, SloUnattainable | OutcomeUnknown):
            raise self._last
        try:
            async with asyncio.timeout(UNREACHED_WAIT_S):
                while self._dispatcher.view is view:
                    await self._dispatcher.next_view()
        except TimeoutError:
            raise self._last from None
        self._tried.clear()
        self._gone.clear()

    async def _ask(self, view: PlacementView, group: GroupView) -> Reply | None:
        """The group's answer; None if another group may be tried."""
        link = self._dispatcher.link(group.name)
        now_s = monotonic()
        sequence = link.next_sequence()
        self._asked = group.name
        view.sent(group, self._call.model, sequence, now_s)
        try:
            response: Any = await link.submit(self._call, self._deadline_s - self._margin_s(now_s) - now_s)
        except Unsent as error:
            self._gone.add(group.name)
            self._last = error
            return None
        except GroupUnavailable as error:
            self._went_away(group, error)
            return None
        finally:
            view.ended(group, sequence)
        if isinstance(response, leader_pb2.Served):
            predicted_s = now_s - self._call.arrival_s + response.predicted_s
            return Reply(response, view.deployment.version, group.name, predicted_s)
        if isinstance(response, leader_pb2.Rejected):
            self._rejected(response, now_s)
        else:
            self._failed(group, response)
        return None

    def _went_away(self, group: GroupView, error: GroupUnavailable) -> None:
        self._gone.add(group.name)
        self._last = OutcomeUnknown(f"{error}; the request may have run", idempotent=self._idempotent)
        if not self._idempotent:
            raise self._last from None

    def _rejected(self, rejected: leader_pb2.Rejected, asked_s: float) -> None:
        self._dispatcher.report(rejected.state)
        predicted_s = asked_s - self._call.arrival_s + rejected.predicted_s
        if rejected.queue_full and math.isinf(self._deadline_s):
            self._last = self._unattainable(predicted_s, "the queue is full", rejected.predicted_s)
        else:
            self._last = self._unattainable(predicted_s, "the queue is full" if rejected.queue_full else "")

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
            self._last = GroupUnavailable(failed.message)
