"""Variations of a problem, planned side by side; nothing of it is applied."""

import asyncio
from collections.abc import AsyncIterator, Callable

from alpaserve.v1 import planner_pb2

from services.core.errors import InvalidArgument
from services.core.problem import Problem
from services.infra.wire import to_placement
from services.planner.messages import capacity_message, cell_message, probe_message
from services.planner.policies.bisections import capacity
from services.planner.policies.plan import Plan
from services.planner.policies.questions import (
    DEFAULT_PRECISION,
    Probe,
    Target,
    bound_for,
    given_plan,
    no_bound,
    to_vary,
)
from services.planner.policies.search import Limits
from services.planner.policies.threads import aside, unordered
from services.planner.policies.variations import Axes, explore
from services.planner.searching import Searching

Response = planner_pb2.ExploreResponse
Tell = Callable[[Response], None]


async def explored(
    problem: Problem, request: planner_pb2.ExploreRequest, searching: Searching, num_threads: int
) -> AsyncIterator[Response]:
    """What a request asks of a problem, as it becomes known. Leaving early cancels the searches.

    Raises: InvalidArgument for a question that is none, what the policies raise.
    """
    question = request.WhichOneof("question")
    if question is None:
        raise InvalidArgument("a grid or a capacity must be asked for")
    loop = asyncio.get_running_loop()
    # As many as a grid has cells, which the sender bounds.
    told: asyncio.Queue[Response | None] = asyncio.Queue()

    def tell(response: Response | None) -> None:
        loop.call_soon_threadsafe(told.put_nowait, response)

    def work() -> None:
        try:
            if question == "grid":
                explore_grid(problem, request.grid, searching, num_threads, tell)
            else:
                explore_capacity(problem, request.capacity, searching, tell)
        finally:
            tell(None)

    working = asyncio.wrap_future(aside(work))
    try:
        while (response := await told.get()) is not None:
            yield response
        await working
    finally:
        searching.cancel()
        working.cancel()


def explore_grid(problem: Problem, grid: planner_pb2.Grid, searching: Searching, num_threads: int, tell: Tell) -> None:
    """Tell of every cell as it is done."""
    if searching.max_batch_size > 1:
        raise InvalidArgument("a grid is planned without batches: leave max_batch_size out")
    axes = Axes.of(
        problem,
        grid.policies or (searching.policy,),
        num_devices=grid.num_devices,
        rate_scales=grid.rate_scales,
        cv_scales=grid.cv_scales,
        slo_scales=grid.slo_scales,
    )
    searching.check_used(axes.policies)

    def make(policy: str, problem: Problem, limits: Limits) -> Plan:
        return searching.make_by(policy, problem, limits, map)

    # Threads of its own: cells whose legs waited for the same threads would wait for ever.
    with unordered(num_threads) as pool:
        for cell in explore(problem, axes, make, searching.limits, searching.seed, pool, num_threads):
            tell(Response(cell=cell_message(cell)))


def explore_capacity(
    problem: Problem, question: planner_pb2.CapacityQuestion, searching: Searching, tell: Tell
) -> None:
    """Tell of every scale tried, then of what was found."""
    searching.check_used([searching.policy])

    def on_probe(probe: Probe) -> None:
        tell(Response(probe=probe_message(probe)))

    is_given = question.HasField("placement")
    make = given_plan(to_placement(question.placement)) if is_given else searching.make
    bound = no_bound if is_given else bound_for(searching.policy, searching.max_batch_size)
    target = Target(question.target, make, searching.limits, bound, on_probe)
    precision = question.precision or DEFAULT_PRECISION
    found = capacity(problem, to_vary(question.vary, "vary"), target, searching.seed, precision)
    tell(Response(capacity=capacity_message(found)))
