"""Re-placements in a row under traffic: what became of every request, beside what the simulator says.

`python -m benchmarks.replacements [--seed 0]`. Real services on emulated devices that load at a configured rate.
Placements that change the shapes of groups follow each other while requests arrive, open loop; the simulator takes
the same steps, with the costs that the planner had measured before the traffic began. Exits non-zero if a request was
lost, answered twice, or failed for any reason but its SLO, or if the two differ by more than two points.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Thread

import numpy as np
from alpaserve.v1 import model_pb2, planner_pb2
from alpaserve_cli.inputs import no_inputs
from alpaserve_cli.replay import Outcome, Progress, ReplayOptions, ReplayResult, replay
from alpaserve_client import PlannerClient
from numpy.typing import NDArray
from redis import Redis

from benchmarks.replacement_scenario import PROFILE, SLO_SCALE, Scenario, Size, make_scenario, profiles_document
from benchmarks.report import percent, table, title
from benchmarks.system import running_system, serving_with
from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.steps import StepCosts
from services.core.timeline import Timeline, Window, simulate_timeline
from services.infra.store import keys
from services.infra.store.connection import connect
from services.infra.store.transitions import TransitionStore
from services.infra.wire import placement_message

LOAD_BYTES_PER_S = 1_200_000_000
WHOLE = Size(
    num_replacements=20, num_devices=16, num_models=10, memory_bytes=3_000_000_000, rate_per_s=60.0, period_s=11.0
)
PAUSE_S = 0.5
MOST_POINTS = 2.0


@dataclass(frozen=True, slots=True)
class Replacement:
    """A transition under traffic: its begin and end in seconds of the workload."""

    begin_s: float
    end_s: float
    response: planner_pb2.ApplyPlanResponse

    @property
    def changes_shapes(self) -> bool:
        return bool(self.response.diff.formed)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What happened; `predicted` (num_requests,) tells which requests the simulator attains."""

    result: ReplayResult
    replacements: Sequence[Replacement]
    predicted: NDArray[np.bool_]
    costs: StepCosts

    def during(self, replacement: Replacement) -> NDArray[np.bool_]:
        """(num_requests,): which were sent while it was under way."""
        arrival_s = self.result.arrival_s
        return (replacement.begin_s <= arrival_s) & (arrival_s < replacement.end_s)

    @property
    def in_transition(self) -> NDArray[np.bool_]:
        among: NDArray[np.bool_] = np.any([self.during(one) for one in self.replacements], axis=0)
        return among

    @property
    def num_lost(self) -> int:
        return int((self.result.num_answers == 0).sum())

    @property
    def num_doubled(self) -> int:
        return int((self.result.num_answers > 1).sum())

    @property
    def num_failed(self) -> int:
        """Requests that ended for any reason but their SLO."""
        return int(np.equal(self.result.outcome, Outcome.FAILED.value).sum())

    @property
    def points_apart(self) -> float:
        """Measured above predicted attainment of what was sent during transitions."""
        among = self.in_transition
        return 100 * float(self.result.attained[among].mean() - self.predicted[among].mean())


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the running system is reached."""

    redis_url: str
    planner: str
    routers: tuple[str, ...]


@contextmanager
def registered(size: Size, num_routers: int = 2) -> Iterator[Addresses]:
    """The system, with the models registered."""
    settings = {
        "executor": "emulated",
        "num_devices": size.num_devices,
        "memory_bytes": size.memory_bytes,
        "load_bytes_per_s": LOAD_BYTES_PER_S,
    }
    with running_system(settings, serving_with(num_routers)) as system:
        with Redis.from_url(system.redis_url) as store:
            store.hset(keys.PROFILES, PROFILE, json.dumps(profiles_document()))
        address = system.processes["planner"].address
        with PlannerClient(address) as planner:
            for number in range(size.num_models):
                level = model_pb2.ServiceLevel(slo_scale=SLO_SCALE)
                planner.register_model(model_pb2.Model(name=f"m{number}", profile=PROFILE, service_level=level))
        yield Addresses(system.redis_url, address, tuple(router.address for router in system.routers))


@dataclass(eq=False)
class Operator:
    """Applies placements one after another once requests arrive, on the clock of the workload."""

    planner: str
    placements: Sequence[Placement]
    replacements: list[Replacement] = field(default_factory=list)
    began_at_s: float | None = None

    def note(self, progress: Progress) -> None:
        """The first sign of the traffic."""
        if self.began_at_s is None:
            self.began_at_s = time.monotonic() - progress.elapsed_s
            Thread(target=self._apply_all, daemon=True).start()

    def _apply_all(self) -> None:
        with PlannerClient(self.planner) as planner:
            for placement in self.placements:
                begin_s = self._now_s()
                response = planner.apply(placement_message(placement), timeout_s=120)
                self.replacements.append(Replacement(begin_s, self._now_s(), response))
                time.sleep(PAUSE_S)

    def _now_s(self) -> float:
        return time.monotonic() - (self.began_at_s or 0.0)


def run(addresses: Addresses, scenario: Scenario) -> Run:
    """Serve the scenario, and have it simulated."""
    first, later = scenario.placements[0], scenario.placements[1:]
    # The first group of all starts a process, which no other one does: it comes alone.
    with PlannerClient(addresses.planner) as planner:
        for placement in (Placement(first.groups[:1]), first):
            planner.apply(placement_message(placement), timeout_s=120)
    costs = asyncio.run(measured_costs(addresses.redis_url))
    operator = Operator(addresses.planner, later)
    names = scenario.problem.spec.names
    slo_s = dict(zip(names, scenario.problem.model_slo_s.tolist(), strict=True))
    options = ReplayOptions(slo_s=slo_s, progress_every_s=0.2)
    result = replay(scenario.problem.workload, addresses.routers, no_inputs, options, operator.note)
    if len(operator.replacements) < len(later):
        raise RuntimeError(f"the traffic ended after {len(operator.replacements)} of {len(later)} re-placements")
    windows = [Window(-1.0, first)]
    windows += [Window(done.begin_s, to) for done, to in zip(operator.replacements, later, strict=True)]
    predicted = simulate_timeline(as_sent(scenario.problem), Timeline(tuple(windows)), costs=costs).admitted
    return Run(result, tuple(operator.replacements), predicted, costs)


def as_sent(problem: Problem) -> Problem:
    """The same requests from the first one's arrival on."""
    workload = problem.workload
    from_zero = replace(workload, arrival_s=workload.arrival_s - workload.arrival_s[0])
    return pose(problem.spec, problem.profiles, from_zero)


async def measured_costs(redis_url: str) -> StepCosts:
    """What the planner of a system with one worker knows of its steps."""
    redis = connect(redis_url)
    (experience,) = (await TransitionStore(redis).experience()).values()
    await redis.aclose()
    return experience.costs(StepCosts())


def rows(ran: Run) -> Iterator[tuple[object, ...]]:
    for number, one in enumerate(ran.replacements):
        diff, applied, among = one.response.diff, one.response.applied, ran.during(one)
        yield (
            number + 1,
            f"{len(diff.kept)} / {len(diff.formed)} / {len(diff.dissolved)}",
            f"{diff.num_loads} / {diff.num_unloads}",
            f"{applied.transition_s:.2f} / {applied.predicted_s:.2f}",
            f"{sum(down.end_s - down.begin_s for down in applied.down):.2f} / "
            f"{sum(down.end_s - down.begin_s for down in diff.down):.2f}",
            int(among.sum()),
            percent(float(ran.result.attained[among].mean())),
            percent(float(ran.predicted[among].mean())),
        )


def show(ran: Run) -> None:
    """Print the tables and the verdict."""
    title(f"{len(ran.replacements)} re-placements in a row under traffic, emulated devices")
    costs = ran.costs
    print(
        f"Steps as measured before the traffic: {costs.load_bytes_per_s / 1e9:.3f} GB/s a device, "
        f"{1000 * costs.form_s:.0f} ms to form a group, {1000 * costs.switch_s:.0f} ms to switch.\n"
    )
    header = ("", "groups kept / formed / dissolved", "loads / unloads", "s: took / predicted")
    table(
        (*header, "model-seconds down: measured / predicted", "requests meanwhile", "attained", "simulated"), rows(ran)
    )
    among = ran.in_transition
    shapes = sum(one.changes_shapes for one in ran.replacements)
    statuses = Counter(
        status
        for status, failed in zip(ran.result.status_names(), ran.result.outcome, strict=True)
        if failed == Outcome.FAILED
    )
    late_ms = 1000 * ran.result.send_delay_s
    print(
        f"\n{len(ran.result.arrival_s)} requests, {int(among.sum())} of them during transitions; "
        f"{ran.num_lost} lost, {ran.num_doubled} answered twice, {ran.num_failed} failed for another reason than "
        f"their SLO {dict(statuses) or ''}; group shapes changed in {shapes} of {len(ran.replacements)}.\n"
        f"During transitions: measured {percent(float(ran.result.attained[among].mean()))}, "
        f"simulated {percent(float(ran.predicted[among].mean()))}, {ran.points_apart:+.2f} points; "
        f"over all: {percent(float(ran.result.attained.mean()))} and {percent(float(ran.predicted.mean()))}.\n"
        f"How busy the machine was: requests were sent {np.percentile(late_ms, 99):.0f} ms late at the 99th "
        f"percentile, {late_ms.max():.0f} ms at most."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replacements", type=int, default=WHOLE.num_replacements)
    parser.add_argument("--memory-bytes", type=int, default=WHOLE.memory_bytes, help="the less, the more is down")
    arguments = parser.parse_args()
    size = replace(WHOLE, num_replacements=arguments.replacements, memory_bytes=arguments.memory_bytes)
    scenario = make_scenario(size, arguments.seed)
    with registered(size) as addresses:
        ran = run(addresses, scenario)
    show(ran)
    wrong = ran.num_lost + ran.num_doubled + ran.num_failed
    return 1 if wrong or abs(ran.points_apart) > MOST_POINTS else 0


if __name__ == "__main__":
    sys.exit(main())
