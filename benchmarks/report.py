"""How figures are printed: one Markdown table a question, under the date and the machine."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def machine() -> str:
    """The date, cores and processor of this run."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    kind = names[0] if names else platform.processor()
    return f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {kind}, Python {platform.python_version()}"


def title(text: str) -> None:
    print(f"\n## {text}\n\n{machine()}\n", flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows are printed as they come."""
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header), flush=True)
    for row in rows:
        print("| " + " | ".join(_cell(value) for value in row) + " |", flush=True)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def best_s(run: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the quickest of several runs, one before them not counted."""
    run()
    seconds = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began_s)
    return min(seconds)
