"""The life of a request in the router: dispatch, hand to the leader, dispatch again where that is safe."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog
from alpaserve.v1 import leader_pb2, tensor_pb2

from services.core.deployment import Deployment
from services.core.errors import (
    AlpaServeError,
    DeadlinePassed,
    GroupUnavailable,
    InvalidInput,
    NotPlaced,
    OutcomeUnknown,
    SloUnattainable,
)
from services.router.link import GroupLink
from services.router.view import GroupView, PlacementView, Report

log = structlog.get_logger()

UNREACHED_WAIT_S = 1.0
PLACEMENT_WAIT_S = 0.02
REGISTRY_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the router took it; instants are in monotonic seconds, `slo_s` None means the model's."""

    request_id: str
    model: str
    inputs: Mapping[str, tensor_pb2.Tensor]
    slo_s: float | None
    arrival_s: float
    expires_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What the leader served, under which placement, and the finish predicted from the arrival."""

    served: leader_pb2.Served
    placement_version: int
    group: str
    predicted_finish_s: float


class Dispatcher:
    """Requests to groups, over the current view and one link per group."""

    def __init__(self, router: str, max_message_bytes: int, is_registered: Callable[[str], Awaitable[bool]]) -> None:
        self._router = router
        self._max_message_bytes = max_message_bytes
        self._is_registered = is_registered
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._links: dict[str, GroupLink] = {}
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
                link = GroupLink(group.name, group.address, self._router, self._max_message_bytes)
                self._links[group.name] = link
                self._tasks[group.name] = asyncio.create_task(link.run())
        view = PlacementView(deployment)
        new = [self._links[name] for name in view.names if name not in self.view.groups]
        await asyncio.gather(*(link.opened(UNREACHED_WAIT_S) for link in new))
        view.inherit(self.view, monotonic())
        self.view = view
        for name in [name for name in self._links if name not in view.groups]:
            self._links.pop(name).close()
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
        try:
            async with asyncio.timeout(None if math.isinf(deadline_s) else deadline_s - monotonic()):
                return await attempt.run()
        except TimeoutError:
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

    def link(self, group: str) -> GroupLink:
        return self._links[group]

    def unreachable(self) -> set[str]:
        return {name for name, link in self._links.items() if not link.is_open}


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

    async def run(self) -> Reply:
        """Until a group serves the request, or no untried group may."""
        while True:
            view = self._dispatcher.view
            view.model(self._call.model)
            now_s = monotonic()
            group = view.dispatch(self._call.model, now_s, self._gone | self._dispatcher.unreachable())
            if group is None or group.name in self._tried:
                await self._give_up_or_wait(view)
                continue
            self._tried.add(group.name)
            reply = await self._ask(view, group)
            if reply is not None:
                return reply

    async def _give_up_or_wait(self, view: PlacementView) -> None:
        """A group that is leaving means that a newer placement is on its way: wait for it."""
        if not self._was_leaving or isinstance(self._last, SloUnattainable | OutcomeUnknown):
            raise self._last
        until_s = monotonic() + UNREACHED_WAIT_S
        while self._dispatcher.view is view:
            if monotonic() > until_s:
                raise self._last
            await asyncio.sleep(PLACEMENT_WAIT_S)
        self._tried.clear()
        self._gone.clear()

    async def _ask(self, view: PlacementView, group: GroupView) -> Reply | None:
        """The group's answer; None if another group may be tried."""
        link = self._dispatcher.link(group.name)
        now_s = monotonic()
        submit = leader_pb2.Submit(request_id=self._call.request_id, model=self._call.model, inputs=self._call.inputs)
        if not math.isinf(self._deadline_s):
            submit.remaining_s = self._deadline_s - now_s
        sequence = link.next_sequence()
        view.sent(group, self._call.model, sequence, now_s)
        try:
            response: Any = await link.submit(submit)
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
        allowed_s = self._deadline_s - self._call.arrival_s
        why = "the queue is full" if rejected.queue_full else f"predicted to take {predicted_s:.6f} s"
        self._last = SloUnattainable(
            f"model {self._call.model!r}: {why}, allowed are {allowed_s:.6f} s",
            predicted_s,
            allowed_s,
            max(0.0, predicted_s - allowed_s) if math.isfinite(allowed_s) else rejected.predicted_s,
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
