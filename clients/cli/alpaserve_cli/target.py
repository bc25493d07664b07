"""The fewest devices for a target: searched here, and how it is told wherever it was searched."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alpaserve_cli.output import ProgressLine, percent, print_table
from alpaserve_cli.search_options import PlanOptions
from alpaserve_cli.searching import FoundPlan, all_cores, maker
from services.core.problem import Problem
from services.planner.policies.bisections import fewest_devices
from services.planner.policies.plan import warm_up
from services.planner.policies.questions import FewestDevices, Probe, Target, bound_for


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What became of a target."""

    target: float
    num_devices: int
    reached: bool
    probes: tuple[Probe, ...]

    @classmethod
    def of(cls, target: float, found: FewestDevices) -> "TargetPlan":
        return cls(target, found.num_devices, found.reached, found.probes)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The fewest devices, and the seconds that finding them took."""

    fewest: FewestDevices
    search_s: float

    @property
    def found(self) -> FoundPlan:
        return FoundPlan(self.fewest.plan, self.search_s)

    @property
    def num_simulations(self) -> int:
        return sum(probe.num_simulations for probe in self.fewest.probes)


def shrink_here(problem: Problem, target: float, options: PlanOptions, line: ProgressLine) -> Shrunk:
    """Search in this process. Raises: as `plan_here`."""
    warm_up(options.policy, problem)
    began_s = time.monotonic()

    def on_probe(probe: Probe) -> None:
        line.show(f"{probe.value:.0f} devices: {probe_text(probe)}")

    with all_cores() as pool:
        make = maker(options, lambda attainment, count: None, pool)
        asked = Target(
            target, make, options.limits(began_s), bound_for(options.policy, options.max_batch_size), on_probe
        )
        return Shrunk(fewest_devices(problem, asked), time.monotonic() - began_s)


def probe_text(probe: Probe) -> str:
    return f"at most {percent(probe.upper_bound)}" if probe.attainment is None else str(percent(probe.attainment))


def target_document(told: TargetPlan) -> dict[str, Any]:
    return {
        "target": told.target,
        "num_devices": told.num_devices,
        "reached": told.reached,
        "probes": [
            {"num_devices": int(probe.value), "attainment": probe.attainment, "upper_bound": probe.upper_bound}
            for probe in told.probes
        ],
    }


def print_target(told: TargetPlan) -> None:
    """Print what was tried, and what is enough."""
    rows: Sequence[Probe] = sorted(told.probes, key=lambda probe: probe.value)
    print_table(
        "Devices tried",
        ("devices", "attainment", "no placement exceeds"),
        [(int(row.value), percent(row.attainment), percent(row.upper_bound)) for row in rows],
    )
    if told.reached:
        print(f"{told.num_devices} devices attain {percent(told.target)}")
    else:
        print(f"{percent(told.target)} was not reached on all {told.num_devices} devices")
