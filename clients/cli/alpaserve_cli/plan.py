"""`alpaserve plan`: find a placement for models on a cluster under a workload."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from alpaserve.v1 import planner_pb2

from alpaserve_cli.files import read_profiles, read_spec, read_workload
from alpaserve_cli.output import Output, OutputOption, percent, print_json, print_table, progress_line
from alpaserve_cli.plan_service import plan_request, plan_with_service
from alpaserve_cli.simulate import PROFILES, SPEC, WORKLOAD, DispatchOption
from services.core.documents import placement_document
from services.core.errors import InvalidArgument
from services.core.placement import DEFAULT_DISPATCH
from services.core.problem import Problem, pose
from services.core.simulator import warm_up
from services.planner.policies.plan import DEFAULT_POLICY, POLICY_NAMES, Plan, find_policy, make_plan
from services.planner.policies.search import Limits, OnProgress, Search

PolicyOption = Annotated[str, typer.Option("--policy", help=f"How to search: {', '.join(POLICY_NAMES)}.")]
RemoteOption = Annotated[
    str | None,
    typer.Option("--planner", help="Ask this planner; what no file gives it takes from the running system."),
]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Make the plan the running placement.")]
TimeBudgetOption = Annotated[float | None, typer.Option("--time-budget", help="Seconds the search may take.")]
MaxSimulationsOption = Annotated[int | None, typer.Option("--max-simulations", help="Simulations it may take.")]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How to search. Both limits None: as long as the policy itself finds sensible."""

    policy: str = DEFAULT_POLICY
    dispatch: str = DEFAULT_DISPATCH
    seed: int = 0
    time_budget_s: float | None = None
    max_simulations: int | None = None

    def __post_init__(self) -> None:
        find_policy(self.policy)
        if self.seed < 0:
            raise InvalidArgument(f"--seed must not be negative, got {self.seed}")
        budget_s = self.time_budget_s
        if budget_s is not None and not (math.isfinite(budget_s) and budget_s > 0):
            raise InvalidArgument(f"--time-budget must be positive, got {budget_s!r}")
        if budget_s is not None and self.max_simulations is not None:
            raise InvalidArgument("--time-budget and --max-simulations exclude each other")


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """A plan and the seconds it took."""

    plan: Plan
    search_s: float


def plan(
    spec: Annotated[Path | None, SPEC] = None,
    profiles: Annotated[Path | None, PROFILES] = None,
    workload: Annotated[Path | None, WORKLOAD] = None,
    policy: PolicyOption = DEFAULT_POLICY,
    seed: Annotated[int, typer.Option("--seed", help="Of the search's random choices.")] = 0,
    time_budget: TimeBudgetOption = None,
    max_simulations: MaxSimulationsOption = None,
    dispatch: DispatchOption = DEFAULT_DISPATCH,
    planner: RemoteOption = None,
    apply: ApplyOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find a placement that attains as much of a workload as possible.

    The JSON output is a placement file, with the plan's figures beside the placement.
    """
    options = PlanOptions(policy, dispatch or DEFAULT_DISPATCH, seed, time_budget, max_simulations)
    if planner is not None:
        request = plan_request(spec, profiles, workload, apply=apply)
        plan_with_service(search_by(request, options), planner, output)
        return
    if spec is None or profiles is None or workload is None or apply:
        raise InvalidArgument("give --spec, --profiles and --workload without --apply, or --planner")
    problem = pose(read_spec(spec), read_profiles(profiles), read_workload(workload))
    with progress_line() as line:
        found = plan_here(
            problem, options, lambda attainment, count: line.show(f"{percent(attainment)} after {count} simulations")
        )
    if output is Output.JSON:
        print_json(plan_document(found))
    else:
        print_plan(found)


def search_by(request: planner_pb2.PlanRequest, options: PlanOptions) -> planner_pb2.PlanRequest:
    """The request, told how to search."""
    request.policy = options.policy
    request.dispatch = options.dispatch
    request.seed = options.seed
    request.max_simulations = options.max_simulations or 0
    if options.time_budget_s is not None:
        request.time_budget.FromNanoseconds(round(options.time_budget_s * 1e9))
    return request


def plan_here(problem: Problem, options: PlanOptions, on_progress: OnProgress) -> FoundPlan:
    """Search in this process. Raises: InvalidArgument, InvalidPlacement, NotPlaced."""
    warm_up(problem)
    began_s = time.monotonic()
    limits = Limits(options.max_simulations, share_of_time(options.time_budget_s, began_s))
    search = Search(problem, options.dispatch, options.seed, limits, on_progress)
    found = make_plan(options.policy, search)
    return FoundPlan(found, time.monotonic() - began_s)


def share_of_time(budget_s: float | None, began_s: float) -> Callable[[], float] | None:
    """What tells a search how much of its time is gone."""
    if budget_s is None:
        return None
    return lambda: (time.monotonic() - began_s) / budget_s


def plan_document(found: FoundPlan) -> dict[str, Any]:
    """A placement document with what the plan says beside it."""
    return placement_document(found.plan.placement) | {
        "policy": found.plan.policy,
        "attainment": found.plan.attainment,
        "search_s": found.search_s,
        "num_simulations": found.plan.num_simulations,
        "upper_bound": found.plan.upper_bound,
        "unplaced": [unplaced._asdict() for unplaced in found.plan.unplaced],
    }


def print_plan(found: FoundPlan) -> None:
    """Print the tables of a plan."""
    made = found.plan
    print_table(
        f"Plan by {made.policy}",
        ("predicted attainment", "no placement exceeds", "simulations", "search s"),
        [(percent(made.attainment), percent(made.upper_bound), made.num_simulations, found.search_s)],
    )
    groups = (
        (index, group.config, " ".join(map(str, group.devices)), " ".join(group.models))
        for index, group in enumerate(made.placement.groups)
    )
    print_table("Groups", ("group", "config", "devices", "models"), groups)
    if made.unplaced:
        print_table("Unplaced", ("model", "reason"), made.unplaced)
