"""The life of a request in the router: count it, give it a deadline, hand it to the groups."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from services.core.errors import DeadlinePassed, NotPlaced
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
        self.requests = Requests()

    async def infer(self, call: Call) -> Reply:
        """Raises: what DESIGN's table of errors names, each a child of AlpaServeError."""
        await self._count(call.model)
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
                margin.note_late(deadline_s - call.arrival_s, monotonic())
            raise passed(call, deadline_s) from None

    async def _count(self, model: str) -> None:
        """Count an arrival, also of a model that no group can serve: plans are made for what is asked.

        Raises: NotPlaced for a model that is registered and that no placement has told of yet.
        """
        if model in self.groups.view.deployment.models:
            self.requests.arrivals[model] += 1
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(REGISTRY_WAIT_S):
                if await self._is_registered(model):
                    self.requests.arrivals[model] += 1
                    raise NotPlaced(f"model {model!r} is placed nowhere")

    def margin(self, model: str) -> Margin:
        """What deadlines of a model are brought forward by."""
        return self._margins[model]


def passed(call: Call, deadline_s: float) -> DeadlinePassed:
    return DeadlinePassed(f"the deadline of {deadline_s - call.arrival_s:.6f} s passed")
