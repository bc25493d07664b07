"""How commands are told to search for placements."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from alpaserve.v1 import planner_pb2

from alpaserve_cli.files import read_profiles, read_spec, read_workload
from services.core.errors import InvalidArgument
from services.core.placement import DEFAULT_DISPATCH
from services.core.problem import Problem, pose
from services.infra.wire import to_duration
from services.planner.policies.batches import check_batches
from services.planner.policies.clockwork import DEFAULT_WINDOW_S
from services.planner.policies.plan import (
    DEFAULT_POLICY,
    POLICY_NAMES,
    RESAMPLES_ARE_FOR,
    WINDOW_IS_FOR,
    check_used,
    find_policy,
)
from services.planner.policies.search import Limits

PolicyOption = Annotated[str, typer.Option("--policy", help=f"How to search: {', '.join(POLICY_NAMES)}.")]
RemoteOption = Annotated[
    str | None,
    typer.Option("--planner", help="Ask this planner; what no file gives it takes from the running system."),
]
SearchSeedOption = Annotated[int, typer.Option("--seed", help="Of the search's random choices.")]
TimeBudgetOption = Annotated[float | None, typer.Option("--time-budget", help="Seconds the search may take.")]
MaxSimulationsOption = Annotated[int | None, typer.Option("--max-simulations", help="Simulations it may take.")]
TotalTimeOption = Annotated[
    float | None, typer.Option("--time-budget", help="Seconds that all searches together may take.")
]
TotalSimulationsOption = Annotated[
    int | None, typer.Option("--max-simulations", help="Simulations that all searches together may take.")
]
ResamplesOption = Annotated[
    int | None,
    typer.Option(
        "--resamples",
        help=f"Workloads like the given one that {RESAMPLES_ARE_FOR} plans for as well, so that the plan does not"
        " fit the accidents of one.",
        show_default="2 for live arrivals, else 0",
    ),
]
WindowOption = Annotated[
    float | None,
    typer.Option(
        "--window", help=f"Seconds after which {WINDOW_IS_FOR} plans again.", show_default=f"{DEFAULT_WINDOW_S:g}"
    ),
]

# The exit code of a question whose target nothing reached.
NOT_REACHED = 3


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How to search. Both limits None: as long as the policy itself finds sensible. `window_s` and
    `num_resamples` are for some policies only, and None for the others."""

    policy: str = DEFAULT_POLICY
    dispatch: str = DEFAULT_DISPATCH
    seed: int = 0
    time_budget_s: float | None = None
    max_simulations: int | None = None
    window_s: float | None = None
    num_resamples: int | None = None
    max_batch_size: int = 1

    def __post_init__(self) -> None:
        find_policy(self.policy)
        if self.max_batch_size < 1:
            raise InvalidArgument(f"--batching must be at least 1, got {self.max_batch_size}")
        check_batches(self.max_batch_size, [self.policy])
        if self.seed < 0:
            raise InvalidArgument(f"--seed must not be negative, got {self.seed}")
        budget_s = self.time_budget_s
        if budget_s is not None and not (math.isfinite(budget_s) and budget_s > 0):
            raise InvalidArgument(f"--time-budget must be positive, got {budget_s!r}")
        if self.window_s is not None:
            check_used("--window", WINDOW_IS_FOR, [self.policy])
            if not (math.isfinite(self.window_s) and self.window_s > 0):
                raise InvalidArgument(f"--window must be positive, got {self.window_s!r}")
        if self.num_resamples is not None:
            check_used("--resamples", RESAMPLES_ARE_FOR, [self.policy])
            if self.num_resamples < 0:
                raise InvalidArgument(f"--resamples must not be negative, got {self.num_resamples}")
        if budget_s is not None and self.max_simulations is not None:
            raise InvalidArgument("--time-budget and --max-simulations exclude each other")

    def limits(self, began_s: float) -> Limits:
        """What these allow a search that began then."""
        return Limits(self.max_simulations, share_of_time(self.time_budget_s, began_s))


def share_of_time(budget_s: float | None, began_s: float) -> Callable[[], float] | None:
    """What tells a search how much of its time is gone."""
    if budget_s is None:
        return None
    return lambda: (time.monotonic() - began_s) / budget_s


def search_by(request: planner_pb2.PlanRequest, options: PlanOptions) -> planner_pb2.PlanRequest:
    """The request, told how to search."""
    request.policy = options.policy
    request.dispatch = options.dispatch
    request.seed = options.seed
    request.max_simulations = options.max_simulations or 0
    request.max_batch_size = options.max_batch_size
    if options.num_resamples is not None:
        request.num_resamples = options.num_resamples
    if options.time_budget_s is not None:
        request.time_budget.CopyFrom(to_duration(options.time_budget_s))
    if options.window_s is not None:
        request.window.CopyFrom(to_duration(options.window_s))
    return request


def read_problem(spec: Path | None, profiles: Path | None, workload: Path | None) -> Problem:
    """The problem that files pose. Raises: InvalidArgument without all of them; what reading them raises."""
    if spec is None or profiles is None or workload is None:
        raise InvalidArgument("give --spec, --profiles and --workload, or --planner")
    return pose(read_spec(spec), read_profiles(profiles), read_workload(workload))
