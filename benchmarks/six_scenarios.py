"""The second source's six scenarios: three sets of models on two traces, re-placed periodically and never.

`python -m benchmarks.six_scenarios [--devices 2 4]`. It reports about 1.2 times the throughput for small
models and losses for large ones. Throughput here is what is served within its SLO at a given load: on so few
devices most sets do not fit whole, so that 99 % is out of reach at any rate.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

from benchmarks.problems import V100, spec_of
from benchmarks.replacing import planned_for
from benchmarks.report import percent, table, title
from benchmarks.traces import TRACES
from services.core.placement import Placement
from services.core.problem import pose
from services.core.profile import ModelProfile, Profiles
from services.core.timeline import Timeline, Window, simulate_timeline_counts
from services.core.workload import Workload
from services.planner.controllers.candidates import excerpt
from services.planner.controllers.closed_loop import Stretch, run_controller
from services.planner.controllers.controllers import Periodic
from services.planner.controllers.setting import Effort, Setting

GB = 1_000_000_000
MEMORY_BYTES = 20 * GB
# The models by the weights that the source gives, with the latencies of the V100 model that is most like them.
WEIGHT_BYTES = {"bert-1.3b": 2.4, "bert-6.7b": 13.4, "bert-2.6b": 5.4, "moe-1.3b": 2.6, "moe-2.4b": 4.8}
SETS = {
    "S1: 64 of 2.4 GB": ["bert-1.3b"] * 64,
    "S2: 8 of 13.4 GB": ["bert-6.7b"] * 8,
    "S3: 4 of each of 2.4, 5.4, 2.6, 4.8 GB": ["bert-1.3b", "bert-2.6b", "moe-1.3b", "moe-2.4b"] * 4,
}
WARM_UP_HOURS, HOURS = 2.0, 4.0
_ROUNDS = 3
_PLANNED_REQUESTS, _PARTS = 30_000, 8


@dataclass(frozen=True, slots=True)
class Scenario:
    """`load` is the share of the devices' time that serving everything would take."""

    trace: str
    models: str
    num_devices: int
    load: float
    every_s: float
    load_bytes_per_s: float
    max_simulations: int

    @property
    def stretch(self) -> Stretch:
        return Stretch(3_600 * WARM_UP_HOURS, 3_600 * (WARM_UP_HOURS + HOURS), self.every_s)

    @property
    def setting(self) -> Setting:
        spec = spec_of(SETS[self.models], self.num_devices, memory_bytes=MEMORY_BYTES)
        return Setting(spec, profiles(), self.every_s, self.load_bytes_per_s)

    def workload(self) -> Workload:
        """The trace, scaled until it is the load."""
        names, hours = self.setting.spec.names, WARM_UP_HOURS + HOURS
        hours_of, path = TRACES[self.trace]
        latency_s = [profiles()[name].single_device_latency_s() for name in SETS[self.models]]
        factor = 1e-2
        for _ in range(_ROUNDS):
            drawn = hours_of(names, hours, factor, 0, path)
            found = float(drawn.num_requests_of @ latency_s) / (3_600 * hours * self.num_devices)
            factor *= self.load / found
        return hours_of(names, hours, factor, 0, path)


@dataclass(frozen=True, slots=True)
class Compared:
    """Attainments, and switches of the periodic controllers: one that takes every plan, and one that weighs it."""

    num_requests: int
    never: float
    always: float
    num_always: int
    weighed: float
    num_weighed: int


def profiles() -> Profiles:
    """Weights spread evenly over the stages."""
    return replace(V100, models={name: _weighing(V100[name], gb) for name, gb in WEIGHT_BYTES.items()})


def _weighing(profile: ModelProfile, gb: float) -> ModelProfile:
    stages = tuple(
        replace(stage, stage_weight_bytes=(round(gb * GB / stage.config.num_devices),) * stage.config.inter_op)
        for stage in profile.stages
    )
    return replace(profile, stages=stages)


def compared(scenario: Scenario) -> Compared:
    setting, stretch, workload = scenario.setting, scenario.stretch, scenario.workload()
    first = first_plan(scenario, workload)
    posed = pose(setting.spec, setting.profiles, workload.between(stretch.begin_s, stretch.end_s))
    stays = simulate_timeline_counts(posed, Timeline((Window(0.0, first),)))
    always, weighed = (
        run_controller(own, workload, Periodic(scenario.every_s), first, stretch, Effort(scenario.max_simulations))
        for own in (replace(setting, prudence=None), setting)
    )
    never = float(stays.attained.sum()) / posed.num_requests
    return Compared(
        posed.num_requests, never, always.attainment, always.num_switches, weighed.attainment, weighed.num_switches
    )


def first_plan(scenario: Scenario, workload: Workload) -> Placement:
    """The best plan for the warm-up hours."""
    seen = excerpt([workload] * _PARTS, scenario.stretch.begin_s, _PLANNED_REQUESTS)
    return planned_for(scenario.setting, seen, scenario.max_simulations)


def rows(scenarios: list[Scenario], num_processes: int) -> Iterator[tuple[object, ...]]:
    with ProcessPoolExecutor(num_processes, get_context("spawn")) as processes:
        for scenario, found in zip(scenarios, processes.map(compared, scenarios), strict=True):
            yield (
                scenario.models,
                scenario.trace,
                scenario.num_devices,
                found.num_requests,
                percent(found.never),
                percent(found.always),
                f"{found.always / found.never:.3f}",
                found.num_always,
                percent(found.weighed),
                f"{found.weighed / found.never:.3f}",
                found.num_weighed,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--load", type=float, default=0.3)
    parser.add_argument("--every", type=float, default=600.0)
    parser.add_argument("--load-bytes-per-s", type=float, default=2e9)
    parser.add_argument("--max-simulations", type=int, default=800)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    scenarios = [
        Scenario(trace, models, num, given.load, given.every, given.load_bytes_per_s, given.max_simulations)
        for num in given.devices
        for models in SETS
        for trace in TRACES
    ]
    title(
        f"Six scenarios, a load of {given.load:g}, re-placed every {given.every:g} s over {HOURS:g} hours, "
        f"loads at {given.load_bytes_per_s:g} bytes/s"
    )
    header = ("models", "trace", "devices", "requests", "never", "periodic", "throughput / never", "switches")
    weighed = ("periodic, weighed", "throughput / never", "switches")
    table((*header, *weighed), rows(scenarios, given.processes))


if __name__ == "__main__":
    main()
