"""One pass of the scenario over running workers: plan, serve, re-place after the turn, compare with the simulator."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from alpaserve.v1 import planner_pb2
from alpaserve_cli.inputs import InputSource
from alpaserve_cli.replay import Outcome, Progress, ReplayOptions, ReplayResult, replay
from alpaserve_client import AlpaServeClientError, PlannerClient
from numpy.typing import NDArray
from scenario import Scenario
from system import LIVE_WINDOW_S, plan

from services.core.placement import Placement
from services.core.problem import pose
from services.core.profile import Profiles
from services.core.simulator import simulate
from services.core.spec import Spec
from services.core.workload import Workload
from services.infra.wire import to_placement

Applied = tuple[planner_pb2.PlanFound, planner_pb2.PlacementApplied]


@dataclass(frozen=True, slots=True)
class Act:
    """What was measured with one executor, and what the simulator says of the same requests.

    `predicted` (num_requests,) tells which requests it attains; `switch_s` is the arrival of the
    first request that the second placement served, infinite if `replaced` is why there was none.
    """

    executor: str
    result: ReplayResult
    predicted: NDArray[np.bool_]
    first: planner_pb2.PlanFound
    replaced: Applied | AlpaServeClientError
    switch_s: float

    @property
    def num_lost(self) -> int:
        """Requests without an answer."""
        return int((self.result.num_answers == 0).sum())

    @property
    def num_doubled(self) -> int:
        return int((self.result.num_answers > 1).sum())

    @property
    def num_failed(self) -> int:
        """Requests that ended for any reason other than their SLO."""
        return int(np.equal(self.result.outcome, Outcome.FAILED.value).sum())


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: the system's addresses, and the inputs that clients send."""

    planner: str
    router: str
    inputs: InputSource
    spec: Spec
    profiles: Profiles
    seed: int


def play(executor: str, scenario: Scenario, cast: Cast, on_progress: Callable[[Progress], None]) -> Act:
    """Serve the scenario once. The second plan is made from the arrivals that the routers saw."""
    with PlannerClient(cast.planner) as planner, ThreadPoolExecutor(1) as beside:
        first_device = planner.status().workers[0].first_device
        first = plan(planner, scenario.before, cast.seed)
        slo_s = {model.name: model.slo(cast.profiles) for model in cast.spec.models}
        second: Future[Applied | AlpaServeClientError] = beside.submit(
            replace_later, planner, scenario.flip_s + LIVE_WINDOW_S, cast.seed
        )
        result = replay(scenario.workload, cast.router, cast.inputs, ReplayOptions(slo_s=slo_s), on_progress)
        replaced = second.result()
    plans, switch_s = [first[0]], float("inf")
    if not isinstance(replaced, AlpaServeClientError):
        served_by_second = result.placement_version >= replaced[1].placement.version
        switch_s = float(result.arrival_s[served_by_second].min(initial=np.inf))
        plans.append(replaced[0])
    placements = [local(to_placement(plan.placement), first_device) for plan in plans]
    predicted = predict(scenario.workload, placements, switch_s, cast)
    return Act(executor, result, predicted, first[0], replaced, switch_s)


def replace_later(planner: PlannerClient, after_s: float, seed: int) -> Applied | AlpaServeClientError:
    """What the second plan came to, or why there is none."""
    time.sleep(after_s)
    try:
        return plan(planner, None, seed)
    except AlpaServeClientError as error:
        return error


def predict(workload: Workload, placements: Sequence[Placement], switch_s: float, cast: Cast) -> NDArray[np.bool_]:
    """Which requests the simulator attains, a second placement taking over at `switch_s`."""
    end_s = float(workload.arrival_s[-1]) + 1.0
    switch_s = min(switch_s, end_s)
    parts = [
        attained(workload.between(begin_s, until_s), placement, cast)
        for placement, begin_s, until_s in zip(placements, (0.0, switch_s), (switch_s, end_s), strict=False)
    ]
    return np.concatenate(parts)


def local(placement: Placement, first_device: int) -> Placement:
    """The placement with devices counted from the worker's first."""
    groups = tuple(
        replace(group, devices=tuple(device - first_device for device in group.devices)) for group in placement.groups
    )
    return replace(placement, groups=groups)


def attained(workload: Workload, placement: Placement, cast: Cast) -> NDArray[np.bool_]:
    if not len(workload):
        return np.empty(0, dtype=np.bool_)
    problem = pose(cast.spec, cast.profiles, workload)
    return simulate(problem, problem.placement_layout(placement), placement.dispatch_rule).admitted
