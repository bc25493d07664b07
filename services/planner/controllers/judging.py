"""What staying and switching would attain, simulated on drawn traffic with the switch paid for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.core.placement import Placement
from services.core.problem import Problem, pose
from services.core.steps import StepCosts
from services.core.timeline import Timeline, Window, simulate_timeline_counts
from services.core.workload import Workload
from services.planner.controllers.decision import Prospect
from services.planner.controllers.setting import Setting

# The groups get so busy before the switch, so that it does not begin from idle clocks.
_LEAD_SHARE = 0.02


class Bench:
    """Drawn traffic, and what staying attains on each draw."""

    def __init__(self, setting: Setting, running: Placement, workloads: Sequence[Workload]) -> None:
        """Raises: InvalidWorkload for a draw without requests."""
        self._setting = setting
        self._running = running
        self._problems = [pose(setting.spec, setting.profiles, own) for own in workloads]
        self._stay = np.array([self._attained(own, (), None) for own in self._problems])
        self._num_requests = np.array([own.num_requests for own in self._problems])
        self.num_simulations = len(self._problems)

    def paid(self, candidate: Placement) -> NDArray[np.int64]:
        """What switching now attains on each draw, its steps paid for, (num_draws,).

        Raises: what the simulation raises for a placement that cannot be.
        """
        return self._switched(candidate, self._setting.step_costs)

    def prospect(self, candidate: Placement, paid: NDArray[np.int64]) -> Prospect:
        """Of a candidate that attains `paid`."""
        free = paid if self._setting.step_costs is None else self._switched(candidate, None)
        total = self._num_requests.sum()
        gains = (paid - self._stay) / self._num_requests
        spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
        return Prospect(
            stay=float(self._stay.sum() / total),
            switch=float(paid.sum() / total),
            switch_for_free=float(free.sum() / total),
            standard_error=spread / np.sqrt(len(gains)).item(),
        )

    def _switched(self, candidate: Placement, costs: StepCosts | None) -> NDArray[np.int64]:
        switch = Window(_LEAD_SHARE * self._setting.horizon_s, candidate)
        self.num_simulations += len(self._problems)
        return np.array([self._attained(own, (switch,), costs) for own in self._problems])

    def _attained(self, problem: Problem, later: tuple[Window, ...], costs: StepCosts | None) -> int:
        timeline = Timeline((Window(0.0, self._running), *later))
        return int(simulate_timeline_counts(problem, timeline, costs=costs).attained.sum())
