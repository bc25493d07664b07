"""The compiled simulator: the kernel and the rule's own functions, compiled with numba.

Each function is rebuilt with globals in which its callees are the compiled ones; the text that
router and worker interpret is the text that runs here.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core import kernel, schedule
from services.core.attainment import Outcome
from services.core.kernel import Clocks, Fates, Layout, Requests, Tally
from services.core.problem import Problem

# numba takes half a second to import, so that waits until something is compiled.
if find_spec("numba") is None:
    raise ModuleNotFoundError("the simulator needs numba: install alpaserve[planner]", name="numba")

# Callees before callers.
_COMPILED = (
    schedule.last_stage_end,
    schedule.commit,
    schedule.admits,
    schedule.earliest_free,
    schedule.shortest_queue,
    schedule.earliest_finish,
    schedule.dispatch,
    kernel.forget_finished,
    kernel.remember,
    kernel.serve,
)

# Below so many requests, interpreting takes less time than compiling does first.
_WORTH_COMPILING = 20_000

Serve = Callable[[int, Requests, Layout, Clocks, Tally, Fates], None]


@cache
def compiled_serve() -> Serve:
    """`kernel.serve`, compiled; releases the GIL. No fast-math: bit for bit what Python computes.

    Numba keeps the machine code on disk under a name that holds the fingerprint of everything
    compiled, because it would itself look for changes in the file of `serve` only.
    """
    import numba

    compiled: dict[str, Any] = {}
    for function in _COMPILED:
        rebuilt = FunctionType(function.__code__, function.__globals__ | compiled, function.__name__)
        # Nothing here owns an array, and counting references to views costs two thirds of the time.
        options: dict[str, Any] = {"nogil": True, "_nrt": False}
        if function is kernel.serve:
            rebuilt.__qualname__ = f"serve_{fingerprint(_COMPILED)}"
            options["cache"] = True
        else:
            options["inline"] = "always"
        compiled[function.__name__] = numba.njit(**options)(rebuilt)
    serve: Serve = compiled["serve"]
    return serve


def warm_up(problem: Problem) -> None:
    """Compile now, so that the first simulation takes no longer than the others."""
    nothing = np.zeros((problem.num_models, 0), dtype=np.bool_)
    simulate_counts(problem, problem.layout(problem.lanes(()), nothing), schedule.EARLIEST_FREE)


def fingerprint(functions: Sequence[Any]) -> str:
    """Changes whenever the bytecode of any function does, or a constant that one of them reads."""
    parts = []
    for function in functions:
        code, names = function.__code__, function.__globals__
        constants = {name: names[name] for name in code.co_names if isinstance(names.get(name), int | float | str)}
        parts.append(repr((code.co_code, code.co_consts, code.co_names, code.co_varnames, constants)))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def serve_once(num_requests: int) -> Serve:
    """The kernel that is done first if it is used only once: interpreted for small workloads."""
    return compiled_serve() if num_requests >= _WORTH_COMPILING else kernel.serve


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What a search needs of a run. `attained` (num_models,), `group_requests` and `group_attained`
    (num_groups,); `latency_s` is the sum over attained requests."""

    attained: NDArray[np.int64]
    group_requests: NDArray[np.int64]
    group_attained: NDArray[np.int64]
    latency_s: float


def simulate_counts(problem: Problem, layout: Layout, dispatch_rule: int, serve: Serve | None = None) -> Counts:
    """Simulate for counts alone. `serve` replaces the compiled kernel, by the interpreted one say."""
    tally, _, _ = _run(problem, layout, dispatch_rule, 0, serve or compiled_serve())
    return Counts(tally.attained, tally.group_requests, tally.group_attained, float(tally.latency_s[0]))


def simulate(problem: Problem, layout: Layout, dispatch_rule: int, serve: Serve | None = None) -> Outcome:
    """Simulate and tell every request's fate."""
    _, fates, clocks = _run(problem, layout, dispatch_rule, problem.num_requests, serve or compiled_serve())
    return Outcome(fates.group, fates.finish_s, clocks.free_at)


def _run(
    problem: Problem, layout: Layout, dispatch_rule: int, num_recorded: int, serve: Serve
) -> tuple[Tally, Fates, Clocks]:
    num_groups = len(layout.first_stage) - 1
    num_listed = problem.num_requests if dispatch_rule == schedule.SHORTEST_QUEUE else 0
    clocks = Clocks(
        free_at=np.zeros(layout.first_stage[-1]),
        num_in_flight=np.zeros(num_groups, dtype=np.int32),
        oldest=np.zeros(num_groups, dtype=np.int32),
        newest=np.zeros(num_groups, dtype=np.int32),
        younger=np.empty(num_listed, dtype=np.int32),
        stage_end_s=np.empty(num_listed),
    )
    tally = Tally(
        attained=np.zeros(problem.num_models, dtype=np.int64),
        group_requests=np.zeros(num_groups, dtype=np.int64),
        group_attained=np.zeros(num_groups, dtype=np.int64),
        latency_s=np.zeros(1),
    )
    fates = Fates(group=np.empty(num_recorded, dtype=np.int32), finish_s=np.empty(num_recorded))
    serve(dispatch_rule, problem.requests, layout, clocks, tally, fates)
    return tally, fates, clocks
