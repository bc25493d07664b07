"""168 mixed models on 48 devices under an hour of the Azure Functions 2019 sample.

`python -m benchmarks.clockwork [--seconds 20]`. There the published search fell behind Clockwork++, an
oracle that plans every minute anew for that minute's own traffic and switches for free.
"""

import argparse
from collections.abc import Iterator

from benchmarks.problems import SET, V100, in_turn, spec_of
from benchmarks.published import searched
from benchmarks.report import percent, table, title
from benchmarks.traces import MAF1_RATE_SCALE, maf1_hours
from services.core.problem import Problem, pose
from services.core.simulator import warm_up
from services.planner.policies.bound import attainment_bound


def hour(num_devices: int, num_models: int, rate_factor: float) -> Problem:
    spec = spec_of(in_turn(SET, num_models), num_devices)
    return pose(spec, V100, maf1_hours(spec.names, 1.0, rate_factor, 0))


def rows(budget_s: float) -> Iterator[tuple[object, ...]]:
    for rate_factor in (0.5, 1.0):
        problem = hour(48, 168, rate_factor)
        bound = percent(attainment_bound(problem))
        for policy, budget in (
            ("selective-replication", None),
            ("clockwork++", None),
            ("alpaserve-paper", budget_s),
            ("alpaserve", budget_s),
        ):
            attainment, _, seconds = searched(problem, policy, budget)
            yield (
                f"{rate_factor * MAF1_RATE_SCALE:.3g}",
                problem.num_requests,
                policy,
                percent(attainment),
                bound,
                seconds,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    budget_s = parser.parse_args().seconds
    warm_up(hour(48, 168, 0.02))
    title(f"168 mixed models on 48 devices, MAF1 sample, {budget_s:g} s each")
    table(("rate scale", "requests", "policy", "attainment", "bound of one placement", "seconds"), rows(budget_s))


if __name__ == "__main__":
    main()
