"""Search times and attainments as ratios to the published implementation's, scaled by the machine.

`python -m benchmarks.published`. The published figures (64 models x 64 devices x 10⁴ requests) were
taken where the bare loop ran 45 and 79 million requests a second on the two shapes timed here.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.bare_loop import bare_attained
from benchmarks.problems import SET, V100, gamma_traffic, in_turn, published_size, spec_of
from benchmarks.report import best_s, percent, table, title
from services.core.problem import Problem, pose
from services.core.profile import ParallelConfig
from services.core.simulator import warm_up
from services.planner.policies.plan import find_policy
from services.planner.policies.search import Limits, Search

_PUBLISHED_LOOP_PER_S = (45e6, 79e6)
_PUBLISHED_S = {"alpaserve-paper-nobuckets": 4.6, "alpaserve-paper": 124.0, "selective-replication": 1.1}
_BUDGET_S = 10.0


def loop_per_s(num_groups: int, config: ParallelConfig, num_hosts: int) -> float:
    spec = spec_of(in_turn(SET, 64), num_groups * config.num_devices)
    rate = 2.0 * spec.cluster.num_devices
    posed = pose(spec, V100, gamma_traffic(spec, rate, 1_000_000 / rate))
    held = np.random.default_rng(0).random((64, num_groups)).argsort(axis=1) < num_hosts
    layout = posed.layout(posed.lanes([config] * num_groups), held)
    return posed.num_requests / best_s(lambda: bare_attained(posed, layout))


def machine_scale() -> float:
    """How many times slower this machine runs the bare loop; the smaller of two ratios."""
    here = loop_per_s(8, ParallelConfig(8, 1), 8), loop_per_s(32, ParallelConfig(1, 1), 5)
    return min(published / own for published, own in zip(_PUBLISHED_LOOP_PER_S, here, strict=True))


def searched(problem: Problem, policy: str, budget_s: float | None = None) -> tuple[float, int, float]:
    """Attainment, simulations and seconds."""
    began_s = time.perf_counter()
    limits = Limits() if budget_s is None else Limits(None, lambda: (time.perf_counter() - began_s) / budget_s)
    with ThreadPoolExecutor() as threads:
        search = Search(problem, limits=limits, pool=threads.map)
        found = find_policy(policy)(search)
    return found.attainment, search.num_simulations, time.perf_counter() - began_s


def seconds_to(problem: Problem, target: float) -> tuple[float, int]:
    """How long `alpaserve` takes to attain the target, and how many simulations; infinite if it does not."""
    reached = [(float("inf"), 0)]
    began_s = time.perf_counter()

    def note(attainment: float, num_simulations: int) -> None:
        if attainment >= target and not np.isfinite(reached[0][0]):
            reached[0] = time.perf_counter() - began_s, num_simulations

    limits = Limits(None, lambda: float(np.isfinite(reached[0][0])) or (time.perf_counter() - began_s) / _BUDGET_S)
    with ThreadPoolExecutor() as threads:
        find_policy("alpaserve")(Search(problem, limits=limits, pool=threads.map, on_progress=note))
    return reached[0]


def main() -> None:
    problem = published_size(64)
    warm_up(problem)
    searched(published_size(8), "alpaserve", 0.5)
    scale = machine_scale()
    title("Searches of 64 models on 64 devices, 10⁴ requests, against the published implementation")
    print(f"This machine runs the bare loop {scale:.2f} times slower than the published times' machine.\n")
    rows: list[tuple[object, ...]] = []
    targets = {}
    for policy, published_s in _PUBLISHED_S.items():
        attainment, count, seconds = searched(problem, policy)
        targets[policy] = attainment
        rows.append((policy, percent(attainment), count, seconds, published_s * scale / seconds))
    seconds, count = seconds_to(problem, targets["alpaserve-paper"])
    bucketed_s = _PUBLISHED_S["alpaserve-paper"] * scale
    rows.append(
        (
            "alpaserve, until it attains as much",
            percent(targets["alpaserve-paper"]),
            count,
            seconds,
            bucketed_s / seconds,
        )
    )
    table(("policy", "attainment", "simulations", "seconds", "times faster than published, scaled"), rows)


if __name__ == "__main__":
    main()
