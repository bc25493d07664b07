"""What the simulator says of a replay: the same requests, SLOs and placement."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from alpaserve_cli.replay.ledger import request_slo
from alpaserve_cli.replay.outcomes import ReplayResult
from alpaserve_cli.simulate_here import simulate_placement
from services.core.attainment import Report
from services.core.placement import Placement
from services.core.problem import pose
from services.core.profile import Profiles
from services.core.spec import Spec
from services.core.workload import Workload


@dataclass(frozen=True, slots=True)
class Prediction:
    """The inputs of a simulation beside a replay; `group_names` where the placement is the running one."""

    spec: Spec
    profiles: Profiles
    placement: Placement
    group_names: tuple[str, ...] = ()

    def slo_s(self) -> dict[str, float]:
        """SLOs in seconds by model; infinite where a model has none."""
        return {model.name: model.slo(self.profiles) for model in self.spec.models}

    def report(self, result: ReplayResult) -> Report:
        """Simulate the requests that were sent, and count those that the replay counts.

        Raises: InvalidWorkload if none was or a model is not in the spec; what a placement that
        cannot be raises.
        """
        num_warm_up = int(np.count_nonzero(result.sent[: result.num_warm_up]))
        return self._simulated(result.requests(result.sent), num_warm_up)

    def attainment(self, workload: Workload, slo_of: Mapping[str, float], num_warm_up: int) -> float:
        """Of a workload that need not be sent. Raises: as `report`."""
        slo_s = request_slo(workload, slo_of)
        with_slo = replace(workload, slo_s=np.where(np.isinf(slo_s), np.nan, slo_s))
        return self._simulated(with_slo, num_warm_up).attainment

    def _simulated(self, workload: Workload, num_warm_up: int) -> Report:
        problem = pose(self.spec, self.profiles, workload)
        return simulate_placement(problem, self.placement, num_warm_up=num_warm_up)
