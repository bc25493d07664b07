"""Plan requests."""

from collections.abc import AsyncIterator

from alpaserve.v1 import planner_pb2


class Planning:
    def __init__(self, *args: object) -> None: ...

    async def plan(self, request: planner_pb2.PlanRequest) -> AsyncIterator[planner_pb2.PlanResponse]:
        raise NotImplementedError
        yield
