"""168 mixed models on 48 devices under an hour of the Azure Functions 2019 sample.

`python -m benchmarks.clockwork [--seconds 20]`. There the published search fell behind Clockwork++, an
oracle that plans every minute anew for that minute's own traffic and switches for free.
"""

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

from benchmarks.problems import SET, V100, in_turn, spec_of
from benchmarks.published import searched
from benchmarks.report import percent, table, title
from services.core.arrivals import gamma_workload_from_counts
from services.core.problem import Problem, pose
from services.core.simulator import warm_up
from services.core.traces import read_maf1
from services.planner.policies.bound import attainment_bound

_TRACE = Path(__file__).parent / "data/maf1-first-hour.csv.gz"
# The sample has a thirty-seventh of the invocations of the trace whose scale the paper gives, 2e-3.
_RATE_SCALE = 2e-3 * 37
_CV = 4.0


def hour(num_devices: int, num_models: int, rate_scale: float) -> Problem:
    spec = spec_of(in_turn(SET, num_models), num_devices)
    with gzip.open(_TRACE, "rt", newline="") as lines:
        counts = read_maf1(lines, spec.names, 0, 60)
    return pose(spec, V100, gamma_workload_from_counts(counts, 60.0, rate_scale, _CV, 0))


def rows(budget_s: float) -> Iterator[tuple[object, ...]]:
    for scale in (0.5 * _RATE_SCALE, _RATE_SCALE):
        problem = hour(48, 168, scale)
        bound = percent(attainment_bound(problem))
        for policy, budget in (
            ("selective-replication", None),
            ("clockwork++", None),
            ("alpaserve-paper", budget_s),
            ("alpaserve", budget_s),
        ):
            attainment, _, seconds = searched(problem, policy, budget)
            yield f"{scale:.3g}", problem.num_requests, policy, percent(attainment), bound, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    budget_s = parser.parse_args().seconds
    warm_up(hour(48, 168, 1e-3))
    title(f"168 mixed models on 48 devices, MAF1 sample, {budget_s:g} s each")
    table(("rate scale", "requests", "policy", "attainment", "bound of one placement", "seconds"), rows(budget_s))


if __name__ == "__main__":
    main()
