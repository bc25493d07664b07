"""What the router itself costs: the whole system over devices that take no time, beside servers that only pass on.

`python -m benchmarks.serving [ROUNDS]`: an echo of a kilobyte in a closed loop. One hop and two hops of bare grpc.aio
on uvloop, and the system with one router and with two on one port, take turns; then two hops, the system and Ray
Serve's gRPC ingress do, in its defaults and behind HAProxy, started anew each time, since it works when idle. It needs
h2load (Debian's nghttp2-client), and for Ray Serve an interpreter, named by RAY_SERVE_PYTHON, of an environment with
`ray[serve]` and `clients/python`.
"""

import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.report import table, title
from benchmarks.serving_load import CONNECTIONS, WARM_UP_S, NoLoadGenerator, closed_loop, h2load
from benchmarks.serving_system import processor_s
from benchmarks.serving_targets import (
    HAPROXY,
    RAY_PYTHON,
    Running,
    Target,
    one_hop,
    ray_serve,
    ray_serve_is_there,
    system,
    two_hops,
)

ROUNDS, SECONDS = 5, 2.0
ONE_HOP, PROXY, OURS, OURS_TWICE = "one hop, bare", "two hops, bare", "alpaserve", "alpaserve, two routers on one port"
RESIDENT: dict[str, Target] = {ONE_HOP: one_hop, PROXY: two_hops, OURS: system(1), OURS_TWICE: system(2)}
VISITING = {"Ray Serve, defaults": ray_serve({}), "Ray Serve, HAProxy": ray_serve(HAPROXY)}


@dataclass(frozen=True, slots=True)
class Run:
    """One closed loop: requests per second, the median, and processor seconds per request of the first hop, of what
    is behind it and of the load generator."""

    rate_per_s: float
    median_s: float
    front_s: float
    behind_s: float
    generator_s: float


Runs = dict[tuple[str, int], list[Run]]


def measured(target: Running, num_in_flight: int) -> Run:
    front_s, behind_s = processor_s(target.front), processor_s(target.behind)
    found = closed_loop(target.address, num_in_flight, SECONDS)
    front_s, behind_s = processor_s(target.front) - front_s, processor_s(target.behind) - behind_s
    num_requests = found.requests_per_s * (SECONDS + WARM_UP_S)
    return Run(
        found.requests_per_s,
        found.median_s,
        front_s / num_requests,
        behind_s / num_requests,
        found.generator_s_per_request,
    )


def measure(rounds: int, with_ray: bool) -> Runs:
    runs: Runs = defaultdict(list)

    def visit(targets: Mapping[str, Running]) -> None:
        for num_in_flight in CONNECTIONS:
            for name, target in targets.items():
                runs[name, num_in_flight].append(measured(target, num_in_flight))

    with ExitStack() as stack:
        resident = {name: stack.enter_context(target()) for name, target in RESIDENT.items()}
        for number in range(rounds):
            visit(resident)
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for number in range(rounds if with_ray else 0):
            visit({name: resident[name] for name in (PROXY, OURS)})
            for name, target in VISITING.items():
                with target() as running:
                    visit({name: running})
            print(f"round {number + 1} of {rounds} with Ray Serve", file=sys.stderr, flush=True)
    return runs


def medians(runs: Iterable[Run]) -> Run:
    rows = [(run.rate_per_s, run.median_s, run.front_s, run.behind_s, run.generator_s) for run in runs]
    return Run(*map(statistics.median, zip(*rows, strict=True)))


def rows(runs: Runs) -> Iterator[tuple[object, ...]]:
    for name in dict.fromkeys(name for name, _ in runs):
        by_load = [medians(runs[name, num_in_flight]) for num_in_flight in CONNECTIONS]
        one, most = by_load[0], by_load[-1]
        micros = (most.front_s, most.behind_s, most.generator_s)
        yield (
            name,
            *(round(run.rate_per_s) for run in by_load),
            1e3 * one.median_s,
            *(round(1e6 * seconds) for seconds in micros),
        )


def ratios(runs: Runs) -> Iterator[tuple[object, ...]]:
    """Of runs that followed each other, so that both met the same machine."""
    for name in (OURS, OURS_TWICE):
        found = []
        for num_in_flight in CONNECTIONS:
            pairs = zip(runs[name, num_in_flight], runs[PROXY, num_in_flight], strict=False)
            found.append(statistics.median(run.rate_per_s / proxy.rate_per_s for run, proxy in pairs))
        yield name, *found, added_ratio(runs, name)


def added_ratio(runs: Runs, name: str) -> float:
    """What the median of one in flight is more than that of one hop, over what two bare hops add."""
    trios = zip(runs[name, 1], runs[PROXY, 1], runs[ONE_HOP, 1], strict=False)
    return statistics.median(
        (run.median_s - hop.median_s) / (proxy.median_s - hop.median_s) for run, proxy, hop in trios
    )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    try:
        h2load()
    except NoLoadGenerator as missing:
        raise SystemExit(str(missing)) from None
    with_ray = ray_serve_is_there()
    title(f"An echo of a kilobyte over gRPC in a closed loop, medians of {rounds} interleaved rounds")
    runs = measure(rounds, with_ray)
    loads = [f"{num_in_flight} in flight, requests/s" for num_in_flight in CONNECTIONS]
    header = ("server", *loads, "p50 at 1, ms", "first hop, µs of processor", "behind it, µs", "load generator, µs")
    table(header, rows(runs))
    print("\nAgainst two bare hops of the same round:\n")
    table(("server", *(f"{n} in flight" for n in CONNECTIONS), "added p50 at 1"), ratios(runs))
    if not with_ray:
        print(f"\nRay Serve was not to be had: {RAY_PYTHON} names no interpreter with ray[serve] and alpaserve-client.")


if __name__ == "__main__":
    main()
