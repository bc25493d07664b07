"""Re-placement over hours of real traces: oracles, never, periodic, drift and forecast side by side.

`python -m benchmarks.replacing [--hours 6]`. All begin with the plan that is best for the warm-up hours, see
the past only (but for the oracles) and pay for their switches, but for Clockwork++.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

from benchmarks.problems import SET, V100, in_turn, spec_of
from benchmarks.report import percent, table, title
from benchmarks.traces import TRACES
from services.core.placement import Placement
from services.core.problem import pose
from services.core.simulator import warm_up
from services.core.timeline import Timeline, Window, simulate_timeline_counts
from services.core.workload import Workload
from services.planner.controllers.candidates import excerpt
from services.planner.controllers.closed_loop import Stretch, run_controller
from services.planner.controllers.controllers import Controller, Oracle, make_controller
from services.planner.controllers.setting import Effort, Setting
from services.planner.policies import improved
from services.planner.policies.clockwork import CLOCKWORK
from services.planner.policies.plan import make_plan
from services.planner.policies.search import Limits, Search

# Reading weights from a local NVMe drive, or over a PCIe 3.0 x16 link that a V100's node shares: what it takes to
# load a model that is not in host memory. The link alone moves 12e9 at best.
LOAD_BYTES_PER_S = 2e9
OTHER_SPEEDS = (12e9, 0.5e9)
NEVER, UNGUARDED, LIKELY_ORACLE = "never", "periodic, always", "oracle of rates"
SECOND_SEED = 1 << 20
# The paper's whole scale would be more than so few devices can serve; the second trace has 115 functions.
RATE_FACTORS = {"maf1": 0.5, "maf2": 0.25}
NUM_MODELS = {"maf1": 120, "maf2": 115}
# The plan for the warm-up is made for so many requests, from so many parts of it.
_PLANNED_REQUESTS, _PARTS = 60_000, 12
CONTROLLERS = ("forecast", "drift", "periodic", UNGUARDED, CLOCKWORK, LIKELY_ORACLE)


@dataclass(frozen=True, slots=True)
class Case:
    """A trace on a cluster: hours of warm-up, then hours under a controller."""

    trace: str
    path: Path
    num_models: int
    num_devices: int
    rate_factor: float
    warm_up_hours: float
    hours: float
    every_s: float
    horizon_s: float
    load_bytes_per_s: float
    clockwork_window_s: float
    max_simulations: int

    @property
    def setting(self) -> Setting:
        spec = spec_of(in_turn(SET, self.num_models), self.num_devices)
        return Setting(spec, V100, self.horizon_s, self.load_bytes_per_s)

    @property
    def stretch(self) -> Stretch:
        begin_s = 3_600 * self.warm_up_hours
        return Stretch(begin_s, begin_s + 3_600 * self.hours, self.every_s)

    def workload(self, seed: int = 0) -> Workload:
        """From midnight on, as long as any controller looks ahead."""
        hours = self.warm_up_hours + self.hours + self.horizon_s / 3_600
        hours_of, _ = TRACES[self.trace]
        return hours_of(self.setting.spec.names, hours, self.rate_factor, seed, self.path)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a controller; attainments at the load speed that it knew of, and of the same switches at others."""

    attainment: float
    at_other_speeds: tuple[float, ...]
    num_switches: int
    num_loads: int
    load_bytes: int
    num_requests: int
    seconds: float


def first_plan(case: Case) -> Placement:
    """The best plan for the warm-up hours."""
    seen = excerpt([case.workload()] * _PARTS, case.stretch.begin_s, _PLANNED_REQUESTS)
    return planned_for(case.setting, seen, case.max_simulations)


def planned_for(setting: Setting, seen: Workload, max_simulations: int) -> Placement:
    """The best plan for what was seen, with several times the simulations of a controller's plan."""
    problem = pose(setting.spec, setting.profiles, seen)
    warm_up(problem)
    improved.warm_up(problem)
    return make_plan("alpaserve", Search(problem, limits=Limits(5 * max_simulations))).placement


def measured(case: Case, name: str, first: Placement) -> Row:
    began_s = perf_counter()
    workload, stretch, setting = case.workload(), case.stretch, case.setting
    posed = pose(setting.spec, V100, workload.between(stretch.begin_s, stretch.end_s))
    windows: tuple[Window, ...] = (Window(0.0, first),)
    num_loads = load_bytes = 0
    if name == CLOCKWORK:
        windows = make_plan(CLOCKWORK, Search(posed), case.clockwork_window_s).windows
    elif name != NEVER:
        setting = replace(setting, prudence=None) if name == UNGUARDED else setting
        controller = _controller(case, name, workload)
        run = run_controller(setting, workload, controller, first, stretch, Effort(case.max_simulations))
        windows = run.timeline.windows
        moves = [decision.move for decision in run.decisions if decision.taken and decision.move]
        num_loads, load_bytes = sum(move.num_loads for move in moves), sum(move.load_bytes for move in moves)
    speeds = (None,) * 3 if name == CLOCKWORK else (case.load_bytes_per_s, *OTHER_SPEEDS)
    attained = [
        simulate_timeline_counts(posed, Timeline(windows), speed).attained.sum() / posed.num_requests
        for speed in speeds
    ]
    return Row(
        float(attained[0]),
        tuple(float(share) for share in attained[1:]),
        len(windows) - 1,
        num_loads,
        load_bytes,
        posed.num_requests,
        perf_counter() - began_s,
    )


def _controller(case: Case, name: str, workload: Workload) -> Controller:
    if name == "oracle":
        return Oracle(workload, case.every_s)
    if name == LIKELY_ORACLE:
        # The same rates, other arrivals: what can be known at all.
        return Oracle(case.workload(SECOND_SEED), case.every_s)
    return make_controller("periodic" if name == UNGUARDED else name, case.every_s)


def cells(name: str, row: Row, never: float, oracle: float) -> tuple[object, ...]:
    share = f"{100 * (row.attainment - never) / (oracle - never):.0f} %" if oracle > never else "no gain"
    return (
        name,
        percent(row.attainment),
        share,
        *(percent(other) for other in row.at_other_speeds),
        row.num_switches,
        row.num_loads,
        f"{row.load_bytes / 1e9:.0f}",
        row.seconds,
    )


def verdict(found: dict[str, Row]) -> str:
    """How the forecast compares with the best of those that were run and need none."""
    rivals = {name: found[name].attainment for name in (NEVER, UNGUARDED, "periodic", "drift") if name in found}
    best = max(rivals, key=lambda name: rivals[name])
    points = 100 * (found["forecast"].attainment - rivals[best])
    return f"forecast is {points:+.2f} points from {best}, the best of {'; '.join(rivals)}."


def report(case: Case, names: Sequence[str], num_processes: int) -> None:
    title(
        f"{case.trace}: {case.num_models} models on {case.num_devices} devices, {case.hours:g} hours after "
        f"{case.warm_up_hours:g}, a look every {case.every_s:g} s, loads at {case.load_bytes_per_s:g} bytes/s"
    )
    speeds = [f"same at {speed:g} bytes/s" for speed in OTHER_SPEEDS]
    header = ("controller", "attainment", "share of the oracle's gain", *speeds, "switches", "loads", "GB", "seconds")
    found: dict[str, Row] = {}
    with ProcessPoolExecutor(num_processes, get_context("spawn")) as processes:
        first = processes.submit(first_plan, case).result()
        waiting = {name: processes.submit(measured, case, name, first) for name in (NEVER, "oracle", *names)}
        ends = waiting[NEVER].result().attainment, waiting["oracle"].result().attainment

        def rows() -> Iterator[tuple[object, ...]]:
            for name, own in waiting.items():
                found[name] = own.result()
                yield cells(name, found[name], *ends)

        table(header, rows())
    print(f"\n{found[NEVER].num_requests} requests.")
    if "forecast" in found:
        print(verdict(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", nargs="+", default=list(TRACES), choices=list(TRACES))
    parser.add_argument("--maf1", type=Path, default=TRACES["maf1"][1])
    parser.add_argument("--maf2", type=Path, default=TRACES["maf2"][1])
    parser.add_argument("--controllers", nargs="+", default=list(CONTROLLERS), choices=CONTROLLERS)
    parser.add_argument("--models", type=int, default=None, help="by default by trace")
    parser.add_argument("--devices", type=int, default=32)
    parser.add_argument("--rate-factor", type=float, default=None, help="of the paper's scale; by default by trace")
    parser.add_argument("--warm-up-hours", type=float, default=3.0)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--every", type=float, default=600.0)
    parser.add_argument("--horizon", type=float, default=1_800.0)
    parser.add_argument("--load-bytes-per-s", type=float, default=LOAD_BYTES_PER_S)
    parser.add_argument("--max-simulations", type=int, default=1_500)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    for trace in given.traces:
        case = Case(
            trace=trace,
            path=given.maf1 if trace == "maf1" else given.maf2,
            num_models=given.models or NUM_MODELS[trace],
            num_devices=given.devices,
            rate_factor=given.rate_factor or RATE_FACTORS[trace],
            warm_up_hours=given.warm_up_hours,
            hours=given.hours,
            every_s=given.every,
            horizon_s=given.horizon,
            load_bytes_per_s=given.load_bytes_per_s,
            clockwork_window_s=60.0 if trace == "maf1" else given.every,
            max_simulations=given.max_simulations,
        )
        report(case, given.controllers, given.processes)


if __name__ == "__main__":
    main()
