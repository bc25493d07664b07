"""How fast the generator of `alpaserve replay` sends before it is late itself, with one process and with two.

`python -m benchmarks.sending`: even arrivals to bare echoes, one per sending process, which do as little as a server of
gRPC in Python can, doubled and bisected to the highest rate that it keeps up with: at the end half of the requests
leave within 10 ms of their time. And the processor time that a request takes to send, which a busy machine changes
less.
"""

import resource
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
from alpaserve_cli.inputs import random_tokens
from alpaserve_cli.replay import ReplayOptions, ReplayResult, replay
from alpaserve_cli.replay.processes import ProcessesReplay

from benchmarks.report import table, title
from benchmarks.serving_targets import bare
from services.core.rate_search import RateSearch
from services.core.workload import Workload

SECONDS = 3.0
FIRST_PER_S = 500.0
IN_TIME_S = 0.01
TOLERANCE = 0.1
NUM_PROCESSES = (1, 2)


def even(rate_per_s: float) -> Workload:
    count = round(rate_per_s * SECONDS)
    return Workload(np.arange(count) / rate_per_s, np.zeros(count, np.int32), np.full(count, np.nan), ("echo",))


def sent(rate_per_s: float, addresses: list[str], num_processes: int) -> ReplayResult:
    options = ReplayOptions(num_channels=4 // len(addresses))
    if num_processes == 1:
        return replay(even(rate_per_s), addresses, random_tokens(), options)
    return ProcessesReplay(even(rate_per_s), addresses, random_tokens(), options, num_processes).run()


def processor_s(num_processes: int) -> float:
    """Of this process, or of those it had and waited for."""
    who = resource.RUSAGE_SELF if num_processes == 1 else resource.RUSAGE_CHILDREN
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def rows() -> Iterator[tuple[object, ...]]:
    for num_processes in NUM_PROCESSES:
        with ExitStack() as stack:
            addresses = [stack.enter_context(bare("echo"))[0] for _ in range(num_processes)]
            yield num_processes, *highest(addresses, num_processes)


def highest(addresses: list[str], num_processes: int) -> tuple[float, float, float, float]:
    """Requests per second, p50 and p99 of their send delay in ms, and processor µs per request."""
    search = RateSearch(TOLERANCE)
    best = (0.0, 0.0, 0.0, 0.0)
    start_s = used_s(1 / SECONDS, addresses, num_processes)[1]
    while (scale := search.next) is not None:
        rate_per_s = FIRST_PER_S * scale
        result, seconds = used_s(rate_per_s, addresses, num_processes)
        keeps_up = bool(np.median(result.send_delay_s[-len(result.send_delay_s) // 5 :]) < IN_TIME_S)
        search.note(scale, keeps_up)
        if keeps_up and rate_per_s > best[0]:
            p50, p99 = np.percentile(result.send_delay_s, [50, 99])
            best = rate_per_s, 1e3 * p50, 1e3 * p99, 1e6 * (seconds - start_s) / len(result.outcome)
    return best


def used_s(rate_per_s: float, addresses: list[str], num_processes: int) -> tuple[ReplayResult, float]:
    """A replay, and the processor seconds that it took."""
    before_s = processor_s(num_processes)
    result = sent(rate_per_s, addresses, num_processes)
    return result, processor_s(num_processes) - before_s


def main() -> None:
    title("What a replay sends without being late")
    table(("processes", "requests/s", "send delay p50, ms", "p99, ms", "processor, µs a request"), rows())


if __name__ == "__main__":
    main()
