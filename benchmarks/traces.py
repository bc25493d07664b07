"""Hours of public traces as workloads, scaled as in the paper's end-to-end runs.

The excerpts are in `data/`: a day of a sample of 1,250 functions of the Azure Functions Trace 2019, and
day 1 of the Azure Functions Invocation Trace 2021. Full files in their official forms can be given instead.
"""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from services.core.arrivals import gamma_workload_from_counts, refitted_workload
from services.core.traces import read_maf1, read_maf2
from services.core.workload import Workload

_DATA = Path(__file__).parent / "data"
MAF1 = _DATA / "maf1-sample-1250.csv.gz"
MAF2 = _DATA / "maf2-day1.csv.gz"
# The sample has a thirty-seventh of the invocations of the trace whose scale the paper gives, 2e-3.
MAF1_RATE_SCALE = 2e-3 * 37
MAF1_CV = 4.0
MAF2_RATE_SCALE = 32.0
MAF2_WINDOW_S = 5_400.0

# Names, hours, a factor of the paper's rate scale, a seed, and a path.
Hours = Callable[[Sequence[str], float, float, int, Path], Workload]


def maf1_hours(names: Sequence[str], hours: float, rate_factor: float, seed: int, path: Path = MAF1) -> Workload:
    """Gamma arrivals at CV 4 whose rates follow the counts minute by minute."""
    with opened(path) as lines:
        counts = read_maf1(lines, names, 0, round(60 * hours))
    return gamma_workload_from_counts(counts, 60.0, MAF1_RATE_SCALE * rate_factor, MAF1_CV, seed)


def maf2_hours(names: Sequence[str], hours: float, rate_factor: float, seed: int, path: Path = MAF2) -> Workload:
    """Gamma arrivals, fitted to every model in every hour and a half."""
    with opened(path) as lines:
        seen = read_maf2(lines, names, 0.0, 3_600 * hours)
    drawn = refitted_workload(seen, MAF2_WINDOW_S, MAF2_RATE_SCALE * rate_factor, 1.0, seed)
    return drawn.between(0.0, 3_600 * hours)


TRACES: dict[str, tuple[Hours, Path]] = {"maf1": (maf1_hours, MAF1), "maf2": (maf2_hours, MAF2)}


def opened(path: Path) -> TextIO:
    return gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="")
