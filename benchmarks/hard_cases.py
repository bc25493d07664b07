"""Ten seconds of `alpaserve` where the published search does badly, against it and the upper bound.

`python -m benchmarks.hard_cases [--seconds 10]`. `memory no object` is what `alpaserve` attains when
every device holds everything: where that is no better, what is missing is queueing, not placement.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.problems import HARD_CASES
from benchmarks.published import searched
from benchmarks.report import percent, table, title
from services.core.problem import Problem, pose
from services.core.simulator import warm_up
from services.planner.policies.bound import attainment_bound, pooled_bound

_ENDLESS_BYTES = 1 << 45
_SMALL_GAP = 0.02


def with_endless_memory(problem: Problem) -> Problem:
    cluster = replace(problem.spec.cluster, memory_bytes=_ENDLESS_BYTES)
    return pose(replace(problem.spec, cluster=cluster), problem.profiles, problem.workload)


def rows(budget_s: float) -> Iterator[tuple[object, ...]]:
    for name, make in HARD_CASES.items():
        problem = make()
        paper, *_ = searched(problem, "alpaserve-paper", budget_s)
        ours, count, _ = searched(problem, "alpaserve", budget_s)
        endless, *_ = searched(with_endless_memory(problem), "alpaserve", budget_s / 2)
        bound = attainment_bound(problem)
        gap = bound - paper
        closed = f"{100 * (ours - paper) / gap:.0f} %" + ("" if gap > _SMALL_GAP else " (of less than 2 points)")
        figures = (paper, ours, endless, bound, pooled_bound(problem))
        yield name, *(percent(share) for share in figures), closed, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    budget_s = parser.parse_args().seconds
    first = next(iter(HARD_CASES.values()))()
    warm_up(first)
    searched(first, "alpaserve", 0.5)
    title(f"Hard cases, {budget_s:g} s each")
    header = ("case", "paper", "alpaserve", "memory no object", "bound", "pooled bound", "gap closed", "simulations")
    table(header, rows(budget_s))


if __name__ == "__main__":
    main()
