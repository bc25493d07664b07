"""What decisions are made for and with: the cluster and its models, the horizon, prudence, and effort."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from services.core.errors import InvalidArgument
from services.core.placement import DEFAULT_DISPATCH
from services.core.profile import Profiles
from services.core.spec import Spec
from services.core.steps import StepCosts
from services.core.timeline import costs_of
from services.planner.policies.search import Limits, Pool

# Of a decision's time; what is found must be judged as well.
_SEARCH_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Prudence:
    """When a better placement is not worth it.

    A gain must exceed `margin`, in attainment over the horizon, and `num_errors` of its own standard errors.
    After a switch nothing is switched for `rest_s`. Within `memory_s`, taking back a share of a
    switch must gain `hysteresis` times that share of what the switch was to gain, besides: whoever goes
    back and forth between two placements must gain more every time.
    """

    margin: float = 0.002
    num_errors: float = 1.0
    rest_s: float = 0.0
    memory_s: float = 3_600.0
    hysteresis: float = 2.0

    def __post_init__(self) -> None:
        for name in ("margin", "num_errors", "rest_s", "memory_s", "hysteresis"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidArgument(f"{name} must be finite and not negative, got {value!r}")


@dataclass(frozen=True, slots=True)
class Setting:
    """The cluster, its models and their profiles; gains count over `horizon_s`. `costs` is what the steps of a
    switch take, `load_bytes_per_s` short for costs of loading alone; with neither, switching is free. Groups that
    are planned have `most_devices` at most, None being no limit; running ones may have more. Without `prudence`
    every new plan is taken, as in the second source."""

    spec: Spec
    profiles: Profiles
    horizon_s: float = 1_800.0
    load_bytes_per_s: float | None = None
    dispatch: str = DEFAULT_DISPATCH
    prudence: Prudence | None = field(default_factory=Prudence)
    costs: StepCosts | None = None
    most_devices: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.horizon_s) and self.horizon_s > 0):
            raise InvalidArgument(f"horizon_s must be positive, got {self.horizon_s!r}")
        if self.load_bytes_per_s is not None and not self.load_bytes_per_s > 0:
            raise InvalidArgument(f"load_bytes_per_s must be positive, got {self.load_bytes_per_s!r}")
        if self.load_bytes_per_s is not None and self.costs is not None:
            raise InvalidArgument(f"load_bytes_per_s is {self.load_bytes_per_s!r}, but costs tell it: {self.costs}")

    @property
    def step_costs(self) -> StepCosts | None:
        return costs_of(self.load_bytes_per_s, self.costs)

    @property
    def plannable(self) -> Profiles:
        """The profiles of groups that may be planned."""
        return self.profiles if self.most_devices is None else self.profiles.within(self.most_devices)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a decision may cost: simulations of its searches, or the share of its time that is gone;
    workloads drawn to plan for, and as many others to judge by; requests planned for at most.

    A workload to judge by has about `num_judged_requests` at most: where more are expected over the horizon, only
    its begin is judged. A switch costs a larger share of less time, so busy systems switch with more caution.
    """

    max_simulations: int | None = 3_000
    seed: int = 0
    share_of_time: Callable[[], float] | None = None
    pool: Pool = map
    num_samples: int = 4
    num_planned_requests: int = 40_000
    num_judged_requests: int = 200_000

    @property
    def is_time_over(self) -> bool:
        return self.share_of_time is not None and self.share_of_time() >= 1

    def judged_s(self, rate_per_s: float, horizon_s: float) -> float:
        """How much of the horizon may be judged; infinite if all of it."""
        fits = rate_per_s * horizon_s <= self.num_judged_requests
        return math.inf if fits else self.num_judged_requests / rate_per_s

    def limits(self, index: int, num_searches: int) -> Limits:
        """Of one of so many searches that follow each other, and leave time to judge."""
        most = None if self.max_simulations is None else max(self.max_simulations // num_searches, 1)
        share_of_time = self.share_of_time
        if share_of_time is None:
            return Limits(most)
        per_search = num_searches / _SEARCH_SHARE
        return Limits(most, lambda: min(max(share_of_time() * per_search - index, 0.0), 1.0))
