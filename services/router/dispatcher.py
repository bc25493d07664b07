"""The life of a request in the router: count it, give it a deadline, hand it to the groups."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic

from services.core.errors import DeadlinePassed, InvalidInput, NotPlaced
from services.infra.background import together
from services.infra.expiry import Expiries
from services.router.attempt import Attempt
from services.router.call import Call, Reply
from services.router.groups import Groups
from services.router.margin import Margin
from services.router.metrics import Requests

REGISTRY_WAIT_S = 0.5


class Dispatcher:
    """Requests to groups."""

    def __init__(self, groups: Groups, is_registered: Callable[[str], Awaitable[bool]]) -> None:
        self.groups = groups
        self._is_registered = is_registered
        self._margins: defaultdict[str, Margin] = defaultdict(Margin)
        self._expiries = Expiries()
        self._late_arrival_s = -math.inf
        self.requests = Requests()

    async def infer(self, call: Call) -> Reply:
        """Raises: what DESIGN's table of errors names, each a child of AlpaServeError."""
        await self._count(call.model, 1)
        return await self._dispatch(call)

    async def infer_batch(self, calls: Sequence[Call]) -> list[Reply]:
        """The same of examples, which share model, arrival and fate: the first that fails ends the others."""
        await self._count(calls[0].model, len(calls))
        self._check_repeatable(calls[0].model)
        return await together(self._example(number, call) for number, call in enumerate(calls))

    def margin(self, model: str) -> Margin:
        """What deadlines of a model are brought forward by."""
        return self._margins[model]

    async def _example(self, number: int, call: Call) -> Reply:
        try:
            return await self._dispatch(call)
        except InvalidInput as error:
            raise InvalidInput(f"example {number}: {error}") from None
        finally:
            if call.trace is not None:
                call.trace.ended()

    async def _dispatch(self, call: Call) -> Reply:
        model = self.groups.view.model(call.model)
        slo_s = model.allowed_s if call.slo_s is None else call.slo_s
        deadline_s = call.deadline_s = min(call.arrival_s + slo_s, call.expires_s)
        margin = self.margin(call.model)
        attempt = Attempt(self.groups, call, deadline_s, model.idempotent, margin)
        if math.isinf(deadline_s):
            return await attempt.run()
        left_s = deadline_s - monotonic()
        if left_s <= 0:
            raise passed(call, deadline_s)
        try:
            with self._expiries.after(left_s):
                return await attempt.run()
        except TimeoutError:
            if attempt.was_late:
                self._note_late(call, deadline_s)
            raise passed(call, deadline_s) from None

    async def _count(self, model: str, num_requests: int) -> None:
        """Count arrivals, also of a model that no group can serve: plans are made for what is asked.

        Raises: NotPlaced for a model that is registered and that no placement has told of yet.
        """
        if model in self.groups.view.deployment.models:
            self.requests.arrivals[model] += num_requests
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(REGISTRY_WAIT_S):
                if await self._is_registered(model):
                    self.requests.arrivals[model] += num_requests
                    raise NotPlaced(f"model {model!r} is placed nowhere")

    def _note_late(self, call: Call, deadline_s: float) -> None:
        """Once for the examples of a batch, which are late together."""
        if call.arrival_s != self._late_arrival_s:
            self._late_arrival_s = call.arrival_s
            self.margin(call.model).note_late(deadline_s - call.arrival_s, monotonic())

    def _check_repeatable(self, model: str) -> None:
        """A batch that fails is asked again as a whole. Raises: InvalidInput for a model that may not run twice."""
        if not self.groups.view.model(model).idempotent:
            raise InvalidInput(f"model {model!r} is not idempotent: ask for examples one by one")


def passed(call: Call, deadline_s: float) -> DeadlinePassed:
    return DeadlinePassed(f"the deadline of {deadline_s - call.arrival_s:.6f} s passed")
