"""What-ifs of the page: one at a time, some wait, each may be cancelled or fail by itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from alpaserve.v1 import planner_pb2

from services.core.errors import InvalidArgument
from services.infra.background import background, repeating
from services.planner.web.explorations import MOST_KEPT, MOST_WAITING, Exploration, Explorations, State
from services.planner.web.what_if_form import Question

Response = planner_pb2.ExploreResponse


class Planner:
    """Tells of the first cell, then does as the seed says: waits for ever, fails, or ends."""

    def __init__(self) -> None:
        self.num_under_way = 0

    async def explore(self, request: planner_pb2.ExploreRequest) -> AsyncIterator[Response]:
        self.num_under_way += 1
        try:
            cell = planner_pb2.Cell(policy="alpaserve", num_devices=2, rate_scale=1, cv_scale=1, attainment=0.5)
            yield Response(cell=cell)
            if request.plan.seed == WAIT:
                await asyncio.Event().wait()
            if request.plan.seed == REFUSE:
                raise InvalidArgument("no")
            if request.plan.seed == BREAK:
                raise RuntimeError("a bug")
        finally:
            self.num_under_way -= 1


END, WAIT, REFUSE, BREAK = range(4)


def question(seed: int) -> Question:
    return Question(("alpaserve",), (2, 4), (1.0,), (1.0,), (), 1.0, 0, seed)


async def until(one: Exploration, state: State, num_cells: int = 0) -> None:
    async with asyncio.timeout(10):
        async for _ in repeating(0.001):
            if one.state is state and len(one.cells) >= num_cells:
                return


async def test_one_runs_at_a_time_and_its_cancellation_lets_the_next_begin() -> None:
    planner = Planner()
    explorations = Explorations(planner.explore)
    async with background(explorations.work()):
        first, second = explorations.ask(question(WAIT)), explorations.ask(question(END))
        await until(first, State.RUNNING, num_cells=1)
        assert (second.state, planner.num_under_way) == (State.WAITING, 1)

        explorations.cancel(first.number)
        await until(second, State.DONE)

    assert (first.state, len(first.cells), planner.num_under_way) == (State.CANCELLED, 1, 0)
    assert second.cells == {("alpaserve", 2, 1.0, 1.0, "as they are"): (0.5, None)}
    assert [one.number for one in explorations.newest()] == [second.number, first.number]


async def test_one_that_waits_is_cancelled_before_it_begins() -> None:
    explorations = Explorations(Planner().explore)
    waiting = explorations.ask(question(END))
    explorations.cancel(waiting.number)

    async with background(explorations.work()):
        await until(explorations.ask(question(END)), State.DONE)

    assert (waiting.state, waiting.cells) == (State.CANCELLED, {})


@pytest.mark.parametrize(("seed", "error"), [(REFUSE, "no"), (BREAK, "internal error")])
async def test_a_failure_is_told_and_the_next_one_runs(seed: int, error: str) -> None:
    explorations = Explorations(Planner().explore)
    async with background(explorations.work()):
        failed = explorations.ask(question(seed))
        await until(failed, State.FAILED)
        await until(explorations.ask(question(END)), State.DONE)

    assert failed.error.startswith(error)


async def test_only_so_many_wait() -> None:
    explorations = Explorations(Planner().explore)
    for _ in range(MOST_WAITING):
        explorations.ask(question(END))

    with pytest.raises(InvalidArgument, match="are waiting already"):
        explorations.ask(question(END))


async def test_one_that_is_cancelled_makes_room_and_what_is_not_over_stays() -> None:
    explorations = Explorations(Planner().explore)
    first, *_ = [explorations.ask(question(END)) for _ in range(MOST_WAITING)]
    for _ in range(2 * MOST_KEPT):
        explorations.cancel(explorations.newest()[0].number)
        explorations.ask(question(END))

    assert explorations.get(first.number) is first
    assert len(explorations.newest()) == MOST_WAITING + MOST_KEPT
    async with background(explorations.work()):
        await until(first, State.DONE)
