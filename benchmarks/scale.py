"""1,024 devices, 1,000 models, 10⁶ requests: what each policy has found after the same time.

`python -m benchmarks.scale [--seconds 240]`. Each policy runs in a process of its own, which tells its
peak memory; the upper bound is part of the run's time.
"""

import argparse
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import perf_counter

from benchmarks.problems import SET, in_turn, problem
from benchmarks.published import searched
from benchmarks.report import percent, table, title
from services.core.simulator import warm_up
from services.planner.policies.bound import attainment_bound

_DEVICES, _MODELS, _REQUESTS = 1024, 1000, 1_000_000


def measured(policy: str, rate_per_s: float, budget_s: float) -> tuple[object, ...]:
    posed = problem(in_turn(SET, _MODELS), _DEVICES, rate_per_s, num_requests=_REQUESTS)
    warm_up(posed)
    attainment, count, seconds = searched(posed, policy, budget_s)
    began_s = perf_counter()
    bound = attainment_bound(posed)
    bound_s = perf_counter() - began_s
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{rate_per_s:g}", policy, percent(attainment), percent(bound), count, seconds, bound_s, peak_gib


def rows(budget_s: float, rates: list[float]) -> Iterator[tuple[object, ...]]:
    for rate in rates:
        for policy in ("alpaserve-paper", "alpaserve"):
            with ProcessPoolExecutor(1, get_context("spawn")) as own:
                yield own.submit(measured, policy, rate, budget_s).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[3072.0])
    given = parser.parse_args()
    title(f"{_DEVICES} devices, {_MODELS} models, {_REQUESTS:,} requests, {given.seconds:g} s each")
    header = ("requests/s", "policy", "attainment", "bound", "simulations", "search s", "bound s", "peak GiB")
    table(header, rows(given.seconds, given.rates))


if __name__ == "__main__":
    main()
