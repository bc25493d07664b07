"""What-ifs that the page asked for: one is planned at a time, a few wait, the last ones are kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from time import monotonic

import structlog
from alpaserve.v1 import planner_pb2

from services.core.errors import AlpaServeError, InvalidArgument
from services.infra.store.connection import OUTAGES
from services.pages.heat_map import HeatMap, Place, heat_map
from services.planner.web.what_if_form import Question

log = structlog.get_logger()

MOST_WAITING, MOST_KEPT = 4, 12
Explore = Callable[[planner_pb2.ExploreRequest], AsyncIterator[planner_pb2.ExploreResponse]]


class State(StrEnum):
    """How far an exploration is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass
class Exploration:
    """A question, and the cells known so far, by their places: attainment, and what no plan exceeds."""

    number: int
    question: Question
    state: State = State.WAITING
    error: str = ""
    cells: dict[Place, tuple[float, float | None]] = field(default_factory=dict)
    num_simulations: int = 0
    began_s: float = 0.0
    took_s: float = 0.0
    cancelling: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        return self.state not in (State.WAITING, State.RUNNING)

    @property
    def elapsed_s(self) -> float:
        """Since it began; so far, or in all."""
        return monotonic() - self.began_s if self.state is State.RUNNING else self.took_s

    @property
    def heat_map(self) -> HeatMap:
        return heat_map(self.question.axes, self.cells)


class Explorations:
    """Takes questions, and works them off."""

    def __init__(self, explore: Explore) -> None:
        self._explore = explore
        self._kept: dict[int, Exploration] = {}
        self._asked = asyncio.Event()
        self._numbers = count(1)

    def ask(self, question: Question) -> Exploration:
        """Raises: InvalidArgument while too many wait."""
        if len(self._waiting()) >= MOST_WAITING:
            raise InvalidArgument(f"{MOST_WAITING} what-ifs are waiting already; cancel one or try later")
        asked = Exploration(next(self._numbers), question)
        self._kept[asked.number] = asked
        over = [one.number for one in self._kept.values() if one.is_over]
        for number in over[:-MOST_KEPT]:
            del self._kept[number]
        self._asked.set()
        return asked

    def get(self, number: int) -> Exploration | None:
        return self._kept.get(number)

    def newest(self) -> list[Exploration]:
        """Those that are kept, the newest first."""
        return list(reversed(self._kept.values()))

    def cancel(self, number: int) -> None:
        """What is planned already stays."""
        found = self._kept.get(number)
        if found is not None and not found.is_over:
            found.cancelling.set()
            if found.state is State.WAITING:
                found.state = State.CANCELLED

    async def work(self) -> None:
        """One exploration after the other, for as long as the page is there."""
        while True:
            if waiting := self._waiting():
                await self._carry_out(waiting[0])
            else:
                self._asked.clear()
                await self._asked.wait()

    def _waiting(self) -> list[Exploration]:
        """The one that is next, first."""
        return [one for one in self._kept.values() if one.state is State.WAITING]

    async def _carry_out(self, one: Exploration) -> None:
        one.state, one.began_s = State.RUNNING, monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                planning = group.create_task(self._plan(one))
                watching = group.create_task(one.cancelling.wait())
                await asyncio.wait((planning, watching), return_when=asyncio.FIRST_COMPLETED)
                planning.cancel()
                watching.cancel()
        finally:
            one.took_s = monotonic() - one.began_s
            if one.state is State.RUNNING:
                one.state = State.CANCELLED
        log.info("what_if_ended", state=str(one.state), num_cells=len(one.cells), took_s=round(one.took_s, 3))

    async def _plan(self, one: Exploration) -> None:
        try:
            async with aclosing(self._explore(one.question.request())) as responses:  # type: ignore[type-var]
                async for response in responses:
                    if response.WhichOneof("event") == "cell":
                        note(one, response.cell)
            one.state = State.DONE
        except (AlpaServeError, *OUTAGES) as error:
            one.state, one.error = State.FAILED, str(error)
        except Exception:
            log.exception("what_if_failed", question=one.number)
            one.state, one.error = State.FAILED, "internal error; the planner's log says more"


def note(one: Exploration, cell: planner_pb2.Cell) -> None:
    bound = cell.upper_bound if cell.HasField("upper_bound") else None
    one.cells[one.question.place(cell)] = cell.attainment, bound
    one.num_simulations += cell.num_simulations
