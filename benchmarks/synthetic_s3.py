"""The ablation of the paper: its ordering of policies, and the fewest devices for 99 %.

`python -m benchmarks.synthetic_s3 [--seconds 5]`. 60 models of six kinds, power-law rates, SLO scale 5.
"""

import argparse
from collections.abc import Iterator
from statistics import fmean

from benchmarks.problems import synthetic_s3
from benchmarks.published import searched
from benchmarks.report import percent, table, title
from services.core.simulator import warm_up

_POLICIES = ("selective-replication", "round-robin", "fixed-4x1", "alpaserve-paper", "alpaserve")
_PUBLISHED = _POLICIES[:4]
_TARGET = 0.99
_SEEDS = tuple(range(0, 12_000, 1_000))


def ordering(budget_s: float) -> Iterator[tuple[object, ...]]:
    for rate in (24.0, 32.0, 64.0, 96.0, 128.0):
        yield _row(f"{rate:g}/s, CV 4", rate, 4.0, budget_s)
    for cv in (3.0, 5.0, 6.0):
        yield _row(f"64/s, CV {cv:g}", 64.0, cv, budget_s)


def _row(name: str, rate_per_s: float, cv: float, budget_s: float) -> tuple[object, ...]:
    """Means over several draws of the traffic: at 24/s the policies lie closer than draws do."""
    drawn = [synthetic_s3(32, rate_per_s, cv, seed) for seed in _SEEDS]
    found = {policy: fmean(searched(own, policy, budget_s)[0] for own in drawn) for policy in _POLICIES}
    shares = [found[policy] for policy in _PUBLISHED]
    holds = "yes" if shares == sorted(shares) else "no"
    return name, *(percent(found[policy]) for policy in _POLICIES), holds


def fewest_devices(budget_s: float) -> Iterator[tuple[object, ...]]:
    """The first size of a rising row that reaches the target."""
    for policy in ("selective-replication", "round-robin", "fixed-4x1", "alpaserve-paper", "alpaserve"):
        probes = []
        for num_devices in range(24, 161, 4):
            share = searched(synthetic_s3(num_devices), policy, budget_s)[0]
            probes.append((num_devices, share))
            if share >= _TARGET:
                break
        reached = [num_devices for num_devices, share in probes if share >= _TARGET]
        around = ", ".join(f"{n}: {percent(share)}" for n, share in probes[-3:])
        yield policy, reached[0] if reached else "more than 160", around


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    budget_s = parser.parse_args().seconds
    warm_up(synthetic_s3(8))
    searched(synthetic_s3(8), "alpaserve", 0.5)
    title(f"Synthetic S3 on 32 devices, means of {len(_SEEDS)} draws, {budget_s:g} s each")
    table(("load", *_POLICIES, "published ordering holds"), ordering(budget_s))
    title(f"Synthetic S3 at 64/s: fewest devices (in fours) for 99 %, {budget_s:g} s each")
    table(("policy", "devices", "last attainments"), fewest_devices(budget_s))


if __name__ == "__main__":
    main()
