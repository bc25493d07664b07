"""What the simulator says of a replay: the same requests, SLOs and placement."""

from dataclasses import dataclass

import numpy as np

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
    """The inputs of a simulation beside a replay."""

    spec: Spec
    profiles: Profiles
    placement: Placement

    def slo_s(self) -> dict[str, float]:
        """SLOs in seconds by model; infinite where a model has none."""
        return {model.name: model.slo(self.profiles) for model in self.spec.models}

    def report(self, result: ReplayResult) -> Report:
        """Simulate the requests that were sent.

        Raises: InvalidWorkload if none was or a model is not in the spec; what a placement that
        cannot be raises.
        """
        sent = result.sent
        slo_s = np.where(np.isinf(result.slo_s), np.nan, result.slo_s)
        workload = Workload(result.arrival_s[sent], result.model[sent], slo_s[sent], result.names)
        return simulate_placement(pose(self.spec, self.profiles, workload), self.placement)
