"""What becomes of a system that is asked for more than it can do, or by callers who do not play fair.

`python -m benchmarks.overload [load|callers]`. First Poisson arrivals at shares of what four emulated devices can do,
up to five times that: goodput, how quickly the rest is rejected, and memory. Then half of that load, with beside it
thousands of idle connections, callers that stall while sending or reading, messages that are too large, and many
large ones at once: what the others notice, the memory of the router, and what the callers are told.
"""

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import grpc
import numpy as np
from alpaserve.v1 import router_pb2
from alpaserve_client.tensors import encode_tensor
from grpc import aio

from benchmarks.hostile_clients import idle, stalled_readers, stalled_senders
from benchmarks.open_loop import Outcomes, open_loop
from benchmarks.report import table, title
from benchmarks.serving_load import INFER, MODEL
from benchmarks.serving_system import Groups, ServingSystem, family_bytes, resident_bytes, serving

GROUPS = Groups(num_groups=4, stage_s=0.04, slo_s=0.2)
CAPACITY_PER_S = GROUPS.num_groups / GROUPS.stage_s
SHARES = (0.1, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0)
SECONDS, LONG_S = 8.0, 30.0
MIB = 2**20
NUM_IDLE, NUM_STALLED, STALLED_BYTES = 10_000, 100, 4 * MIB
NUM_LARGE, LARGE_BYTES, TOO_LARGE_BYTES = 32, 32 * MIB, 80 * MIB
RECEIVE_TIMEOUT_S = 5
LOAD_HEADER = (
    "share of what is possible",
    "requests",
    "goodput/s",
    "of the best so far",
    "rejected",
    "otherwise failed",
    "served p50, ms",
    "p99",
    "rejected p50, ms",
    "p99",
    "that / unloaded served p50",
    "router, MiB",
    "worker, MiB",
)
CALLER_HEADER = ("beside", "served", "p50, ms", "p99", "router before, MiB", "at most", "after", "they are told")


def mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / MIB:.0f}"


def load_rows(system: ServingSystem) -> Iterator[tuple[object, ...]]:
    router, worker = system.routers[0].pid, system.worker.pid
    found: dict[float, Outcomes] = {}
    for share in SHARES:
        seconds = LONG_S if share == SHARES[-1] else SECONDS
        before = resident_bytes(router), family_bytes(worker)
        found[share] = outcomes = open_loop(system.address, share * CAPACITY_PER_S, seconds, seed=round(10 * share))
        after = resident_bytes(router), family_bytes(worker)
        unloaded_ms = found[SHARES[0]].percentile_ms("OK", 50)
        best = max(one.goodput_per_s(GROUPS.slo_s) for one in found.values())
        counts = outcomes.counts
        rejected = counts["RESOURCE_EXHAUSTED"]
        yield (
            share,
            sum(counts.values()),
            outcomes.goodput_per_s(GROUPS.slo_s),
            outcomes.goodput_per_s(GROUPS.slo_s) / best,
            rejected,
            sum(counts.values()) - counts["OK"] - rejected,
            outcomes.percentile_ms("OK", 50),
            outcomes.percentile_ms("OK", 99),
            outcomes.percentile_ms("RESOURCE_EXHAUSTED", 50),
            outcomes.percentile_ms("RESOURCE_EXHAUSTED", 99),
            outcomes.percentile_ms("RESOURCE_EXHAUSTED", 99) / unloaded_ms,
            *(f"{mebibytes(first)} to {mebibytes(last)}" for first, last in zip(before, after, strict=True)),
        )


def large_request(num_bytes: int) -> bytes:
    tensor = encode_tensor(np.zeros(num_bytes, np.uint8))
    return router_pb2.InferRequest(model=MODEL, inputs={"x": tensor}).SerializeToString()


async def told(address: str, message: bytes, number: int) -> Counter[str]:
    """The statuses of so many calls at once."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with aio.insecure_channel(address, options) as channel:
        call = channel.unary_unary(INFER, None, None)

        async def status() -> str:
            try:
                await call(message, timeout=30)
            except aio.AioRpcError as error:
                code: grpc.StatusCode = error.code()
                return code.name
            return "OK"

        return Counter(await asyncio.gather(*(status() for _ in range(number))))


@contextmanager
def asking(address: str, num_bytes: int, number: int, statuses: Counter[str]) -> Iterator[None]:
    """Calls with large messages, one batch after the other as long as the block runs."""
    message, stopping = large_request(num_bytes), threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            statuses.update(asyncio.run(told(address, message, number)))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


class Watch:
    """The largest memory of a process while it is watched."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._is_over = threading.Event()
        self.most_bytes = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            self.most_bytes = max(self.most_bytes, resident_bytes(self._pid))
            time.sleep(0.05)


def caller_rows(system: ServingSystem) -> Iterator[tuple[object, ...]]:
    address, router = system.address, system.routers[0].pid
    large: Counter[str] = Counter()
    too_large: Counter[str] = Counter()
    cases: list[tuple[str, AbstractContextManager[object], Counter[str]]] = [
        ("nobody", nullcontext(), Counter()),
        (f"{NUM_IDLE} idle connections", idle(address, NUM_IDLE), Counter()),
        (
            f"{NUM_STALLED} that stall half-way of {2 * STALLED_BYTES // MIB} MiB",
            stalled_senders(address, NUM_STALLED, STALLED_BYTES),
            Counter(),
        ),
        (f"{NUM_STALLED} that do not read", stalled_readers(address, NUM_STALLED, large_request(MIB // 16)), Counter()),
        (f"{NUM_LARGE} at once of {LARGE_BYTES // MIB} MiB", asking(address, LARGE_BYTES, NUM_LARGE, large), large),
        (f"of {TOO_LARGE_BYTES // MIB} MiB", asking(address, TOO_LARGE_BYTES, 2, too_large), too_large),
    ]
    for name, beside, statuses in cases:
        before = resident_bytes(router)
        with Watch(router) as watch:
            with beside:
                outcomes = open_loop(address, 0.5 * CAPACITY_PER_S, SECONDS)
            time.sleep(1)
        counts = outcomes.counts
        yield (
            name,
            f"{counts['OK']} of {sum(counts.values())}",
            outcomes.percentile_ms("OK", 50),
            outcomes.percentile_ms("OK", 99),
            *map(mebibytes, (before, watch.most_bytes, resident_bytes(router))),
            ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())),
        )


def main() -> None:
    chosen = sys.argv[1:] or ["load", "callers"]
    if unknown := set(chosen) - {"load", "callers"}:
        raise SystemExit(f"no part {unknown.pop()!r}: there are load and callers")
    settings = {"receive_timeout_s": RECEIVE_TIMEOUT_S}
    with serving(GROUPS, router_settings=settings) as system:
        if "load" in chosen:
            title(f"Poisson arrivals, {CAPACITY_PER_S:g}/s possible, SLO {1e3 * GROUPS.slo_s:g} ms")
            table(LOAD_HEADER, load_rows(system))
        if "callers" in chosen:
            title(f"Half of what is possible, and other callers beside; a request has {RECEIVE_TIMEOUT_S} s to arrive")
            table(CALLER_HEADER, caller_rows(system))


if __name__ == "__main__":
    main()
