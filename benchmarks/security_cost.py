"""What certificates and tokens cost a request: the same system in the clear and secured.

`python -m benchmarks.security_cost [ROUNDS]`: an echo of a kilobyte in a closed loop of the SDK, both systems taking
turns. Processor time a request tells more than rates where the machine has other things to do.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from alpaserve_cli.authority import Authority
from alpaserve_cli.security_files import SecurityFiles
from alpaserve_client import AsyncClient, ConnectionOptions, Tls

from benchmarks.report import table, title
from benchmarks.serving_load import CONTENT_BYTES, MODEL
from benchmarks.serving_system import MEMORY_BYTES, Groups, place, processor_s, store_profile
from benchmarks.system import running_system

ROUNDS, SECONDS = 5, 2.0
IN_FLIGHT = (1, 16, 64)
ECHO = Groups(1, 0.0, 30.0)
INPUTS = {"x": (np.arange(CONTENT_BYTES) % 251).astype(np.uint8)}


@dataclass(frozen=True, slots=True)
class Target:
    """A running system, and how to reach it."""

    address: str
    options: ConnectionOptions
    router: int
    worker: int


@dataclass(frozen=True, slots=True)
class Run:
    """Requests per second, the median, and processor seconds per request of the router and of what is behind it."""

    rate_per_s: float
    median_s: float
    router_s: float
    behind_s: float


@contextmanager
def system(files: SecurityFiles | None) -> Iterator[Target]:
    """In the clear, or with what the files hold."""
    settings: dict[str, object] = {"executor": "emulated", "num_devices": 1, "memory_bytes": MEMORY_BYTES, "drain_s": 1}
    options, of_routers = ConnectionOptions(), dict[str, object]()
    if files is not None:
        variables = files.variables("server", "admin")
        settings |= {name.removeprefix("ALPASERVE_").lower(): value for name, value in variables.items()}
        settings |= {"tokens_file": files.tokens_file, "models_dir": files.directory}
        of_routers["token_file"] = files.token_file("router")
        tls = Tls(files.ca, files.directory / "client.pem", files.directory / "client-key.pem")
        options = ConnectionOptions(tls=tls, token=files.token_file("admin").read_text().strip())
    with running_system(settings, router_settings=of_routers) as running:
        store_profile(running.redis_url, ECHO.stage_s)
        place(running.processes["planner"].address, ECHO, options)
        router = running.processes["router"]
        yield Target(router.address, options, router.pid, running.processes["worker"].pid)


async def closed_loop(target: Target, num_in_flight: int) -> tuple[int, list[float]]:
    """Requests that were answered, and seconds of each."""
    took_s: list[float] = []
    async with AsyncClient(target.address, target.options) as client:
        await client.infer(MODEL, INPUTS)
        end_s = time.perf_counter() + SECONDS

        async def keep_asking() -> None:
            while (began_s := time.perf_counter()) < end_s:
                await client.infer(MODEL, INPUTS)
                took_s.append(time.perf_counter() - began_s)

        await asyncio.gather(*(keep_asking() for _ in range(num_in_flight)))
    return len(took_s) + 1, took_s


def measured(target: Target, num_in_flight: int) -> Run:
    router_s, behind_s = processor_s([target.router]), processor_s([target.worker])
    num_requests, took_s = uvloop.run(closed_loop(target, num_in_flight))
    return Run(
        len(took_s) / SECONDS,
        statistics.median(took_s),
        (processor_s([target.router]) - router_s) / num_requests,
        (processor_s([target.worker]) - behind_s) / num_requests,
    )


def rows(runs: dict[tuple[str, int], list[Run]]) -> Iterator[tuple[object, ...]]:
    for (name, num_in_flight), found in runs.items():
        yield (
            name,
            num_in_flight,
            round(statistics.median(run.rate_per_s for run in found)),
            1e3 * statistics.median(run.median_s for run in found),
            round(1e6 * statistics.median(run.router_s for run in found)),
            round(1e6 * statistics.median(run.behind_s for run in found)),
        )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    title(f"A kilobyte through the system in the clear, and behind mutual TLS and tokens, {rounds} interleaved rounds")
    runs: dict[tuple[str, int], list[Run]] = defaultdict(list)
    with ExitStack() as stack:
        files = SecurityFiles(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        files.make(Authority(1.0))
        targets = {
            "in the clear": stack.enter_context(system(None)),
            "mutual TLS and tokens": stack.enter_context(system(files)),
        }
        for number in range(rounds):
            for num_in_flight in IN_FLIGHT:
                for name, target in targets.items():
                    runs[name, num_in_flight].append(measured(target, num_in_flight))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    table(("system", "in flight", "requests/s", "p50, ms", "router, µs of processor", "behind it, µs"), rows(runs))


if __name__ == "__main__":
    main()
