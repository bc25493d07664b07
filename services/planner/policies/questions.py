"""Questions that take many plans of one problem, and their answers; `bisections` finds them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from services.core.batched_simulator import attained_share
from services.core.errors import InvalidArgument
from services.core.placement import Placement
from services.core.problem import Problem
from services.planner.policies.bound import attainment_bound, pooled_bound
from services.planner.policies.clockwork import CLOCKWORK
from services.planner.policies.plan import Plan
from services.planner.policies.search import Limits
from services.planner.policies.variations import MakePlan

DEFAULT_PRECISION = 0.02


@dataclass(frozen=True, slots=True)
class Probe:
    """One number of devices or scale of the load that was tried.

    `attainment` is None where `upper_bound` alone rules the target out, `upper_bound` where there is none.
    """

    value: float
    rate_per_s: float
    attainment: float | None
    upper_bound: float | None
    num_simulations: int


@dataclass(frozen=True, slots=True)
class Target:
    """What a question is about, and how plans are made: within their shares of `limits`.

    `bound` tells what no plan can exceed, None where nothing is known.
    """

    attainment: float
    make: MakePlan
    limits: Limits
    bound: Callable[[Problem], float | None]
    on_probe: Callable[[Probe], None] = lambda probe: None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.attainment) and 0 < self.attainment <= 1):
            raise InvalidArgument(f"a target must be above 0 and at most 1, got {self.attainment!r}")


@dataclass(frozen=True, slots=True)
class FewestDevices:
    """The plan on the fewest devices that reached the target, or on all of them if none did."""

    plan: Plan
    num_devices: int
    reached: bool
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest scale at which the target was reached, None if at none. `is_open_ended` if it was reached
    at the highest that was tried at all."""

    scale: float | None
    rate_per_s: float | None
    plan: Plan | None
    is_open_ended: bool
    probes: tuple[Probe, ...]

    @property
    def reached(self) -> bool:
        return self.scale is not None


class Vary(StrEnum):
    """What of a workload is scaled."""

    RATE = "rate"
    CV = "cv"


def to_vary(name: str, option: str) -> Vary:
    """Raises: InvalidArgument, naming what was given as `option`."""
    if name not in list(Vary):
        raise InvalidArgument(f"{option} must be {' or '.join(Vary)}, got {name!r}")
    return Vary(name)


def bound_for(policy: str, max_batch_size: int = 1) -> Callable[[Problem], float | None]:
    """What no plan of a policy can exceed: nothing is known of plans that follow each other, or of batches."""
    return no_bound if policy == CLOCKWORK or max_batch_size > 1 else attainment_bound


def quick_bound(policy: str, problem: Problem, max_batch_size: int = 1) -> float | None:
    """A looser bound of that kind, which takes no time."""
    return pooled_bound(problem) if bound_for(policy, max_batch_size) is attainment_bound else None


def no_bound(problem: Problem) -> None:
    """Nothing is known."""


def given_plan(placement: Placement) -> MakePlan:
    """Instead of a search: a placement that stays, simulated."""

    def simulated(problem: Problem, limits: Limits) -> Plan:
        return Plan(placement, "given", attained_share(problem, placement), 1, None, ())

    return simulated
