"""The controllers: when each has a reason to look for another placement, and what traffic it expects."""

from dataclasses import dataclass
from typing import Protocol

from services.core.errors import InvalidArgument
from services.core.workload import Workload
from services.planner.controllers.decision import Running
from services.planner.controllers.drift import Assumed, drift
from services.planner.controllers.forecasting import forecast
from services.planner.controllers.observation import Observation
from services.planner.controllers.outlook import Known, Outlook, SameAgain

DEFAULT_EVERY_S = 600.0
_SLACK_S = 1e-6


class Controller(Protocol):
    """Watches traffic. Keeps nothing between ticks: what must be remembered is in `Running`."""

    @property
    def name(self) -> str: ...

    def is_due(self, now_s: float, running: Running) -> bool:
        """Whether there can be a reason to look at all, whatever the traffic."""
        ...

    def trigger(self, observation: Observation, running: Running) -> str | None:
        """Why to look for another placement now, None if there is no reason."""
        ...

    def outlook(self, observation: Observation, horizon_s: float) -> Outlook:
        """The traffic of the coming `horizon_s`."""
        ...

    def assumed(self, observation: Observation, outlook: Outlook) -> Assumed:
        """What a placement that is chosen now assumes."""
        ...


@dataclass(frozen=True, slots=True)
class Periodic:
    """Plans again every `every_s`, for more of the traffic of the last `every_s` (the second source's)."""

    every_s: float = DEFAULT_EVERY_S
    name: str = "periodic"

    def is_due(self, now_s: float, running: Running) -> bool:
        return is_over(self.every_s, now_s, running)

    def trigger(self, observation: Observation, running: Running) -> str | None:
        since_s = observation.now_s - running.looked_at_s
        return f"{since_s:.0f} s since the last look" if self.is_due(observation.now_s, running) else None

    def outlook(self, observation: Observation, horizon_s: float) -> Outlook:
        return same_again(observation.latest(self.every_s), horizon_s)

    def assumed(self, observation: Observation, outlook: Outlook) -> Assumed:
        return Assumed.of(observation.latest(self.every_s))


@dataclass(frozen=True, slots=True)
class Drifting:
    """Plans again when traffic is no longer what the running plan assumed, by a test at `significance`;
    expects more of the traffic of the last `every_s`, and looks that often."""

    every_s: float = DEFAULT_EVERY_S
    significance: float = 1e-3
    name: str = "drift"

    def is_due(self, now_s: float, running: Running) -> bool:
        return running.assumed is None or is_over(self.every_s, now_s, running)

    def trigger(self, observation: Observation, running: Running) -> str | None:
        if running.assumed is None:
            return "nothing is known of what the running placement assumed"
        if not self.is_due(observation.now_s, running):
            return None
        found = drift(running.assumed, observation.latest(self.every_s))
        return found.text if found.p_value < self.significance else None

    def outlook(self, observation: Observation, horizon_s: float) -> Outlook:
        return same_again(observation.latest(self.every_s), horizon_s)

    def assumed(self, observation: Observation, outlook: Outlook) -> Assumed:
        return Assumed.of(observation.latest(self.every_s))


@dataclass(frozen=True, slots=True)
class Forecasting:
    """Plans for forecast arrivals, every `every_s`; see `forecasting`."""

    every_s: float = DEFAULT_EVERY_S
    name: str = "forecast"

    def is_due(self, now_s: float, running: Running) -> bool:
        return is_over(self.every_s, now_s, running)

    def trigger(self, observation: Observation, running: Running) -> str | None:
        return Periodic(self.every_s).trigger(observation, running)

    def outlook(self, observation: Observation, horizon_s: float) -> Outlook:
        return forecast(observation, horizon_s)

    def assumed(self, observation: Observation, outlook: Outlook) -> Assumed:
        return Assumed(outlook.rates_per_s, observation.gap_cvs(), observation.recent.span_s)


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """Knows `coming`, whose time is the observations': to compare with, never to serve by."""

    coming: Workload
    every_s: float = DEFAULT_EVERY_S
    name: str = "oracle"

    def is_due(self, now_s: float, running: Running) -> bool:
        return is_over(self.every_s, now_s, running)

    def trigger(self, observation: Observation, running: Running) -> str | None:
        return Periodic(self.every_s).trigger(observation, running)

    def outlook(self, observation: Observation, horizon_s: float) -> Outlook:
        return Known(self.coming.between(observation.now_s, observation.now_s + horizon_s), horizon_s)

    def assumed(self, observation: Observation, outlook: Outlook) -> Assumed:
        return Assumed(outlook.rates_per_s, observation.gap_cvs(), float("inf"))


CONTROLLERS = {"periodic": Periodic, "drift": Drifting, "forecast": Forecasting}
CONTROLLER_NAMES = tuple(CONTROLLERS)


def make_controller(name: str, every_s: float = DEFAULT_EVERY_S) -> Controller:
    """Raises: InvalidArgument for an unknown name, listing those that there are, or a time that is none."""
    if name not in CONTROLLERS:
        raise InvalidArgument(f"unknown controller {name!r}; there are: {', '.join(CONTROLLER_NAMES)}")
    if not every_s > 0:
        raise InvalidArgument(f"every_s must be positive, got {every_s!r}")
    controller: Controller = CONTROLLERS[name](every_s)
    return controller


def is_over(every_s: float, now_s: float, running: Running) -> bool:
    """Whether the last look is so long ago."""
    return now_s - running.looked_at_s >= every_s - _SLACK_S


def same_again(observation: Observation, horizon_s: float) -> Outlook:
    return SameAgain(observation.workload(0), observation.recent.span_s, horizon_s)
