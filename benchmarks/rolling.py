"""Routers of a compose project replaced one after another under load: what callers notice.

    python -m benchmarks.rolling MODEL --input 'input_ids=[1,2,3]:int32' --file deploy/compose.yaml

Half of the requests are sent by clients that never try again, half by such as try again by default; all through the
published address. Prints a row for each half, and fails if a request did.
"""

import argparse
import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from alpaserve_cli.infer import parse_input
from alpaserve_client import AlpaServeClientError, AsyncClient, ConnectionOptions, InferResult
from numpy.typing import NDArray

from benchmarks.report import table, title

ROLLING = Path(__file__).resolve().parents[1] / "deploy" / "rolling.sh"
TIMEOUT_S = 30.0
BEFORE_S, AFTER_S = 3.0, 3.0


class CountingClient(AsyncClient):
    """Counts how often it sends."""

    num_sent = 0

    async def _try(self, *arguments: Any) -> InferResult:
        self.num_sent += 1
        return await super()._try(*arguments)


@dataclass
class Account:
    """What became of the requests of one client; `latency_s` is of the answered ones."""

    name: str
    num_retries: int
    latency_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    num_retried: int = 0

    @property
    def num_requests(self) -> int:
        return len(self.latency_s) + self.failures.total()

    def row(self) -> tuple[object, ...]:
        p50, p99 = 1000 * np.quantile(self.latency_s, (0.5, 0.99))
        failed = ", ".join(f"{count} {code}" for code, count in self.failures.items()) or 0
        return self.name, self.num_requests, failed, self.num_retried, round(p50, 1), round(p99, 1)


async def load(account: Account, options: argparse.Namespace, stopping: asyncio.Event) -> None:
    """Ask at an even pace, however late the answers are, until it is told to stop; then wait for them."""
    connection = replace(ConnectionOptions.from_environment(), num_retries=account.num_retries, timeout_s=TIMEOUT_S)
    inputs = dict(parse_input(given) for given in options.input)
    async with CountingClient(options.router, connection) as client, asyncio.TaskGroup() as requests:
        due_s = time.monotonic()
        while not stopping.is_set():
            requests.create_task(ask(client, options.model, inputs, account))
            due_s += 2 / options.rate
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    account.num_retried = client.num_sent - account.num_requests


async def ask(client: AsyncClient, model: str, inputs: Mapping[str, NDArray[Any]], account: Account) -> None:
    begun_s = time.monotonic()
    try:
        await client.infer(model, inputs)
    except AlpaServeClientError as error:
        account.failures[error.code.name] += 1
    else:
        account.latency_s.append(time.monotonic() - begun_s)


async def run(options: argparse.Namespace) -> list[Account]:
    """Load before, while and after the routers are replaced. Raises: SystemExit if they were not."""
    accounts = [Account("never retries", 0), Account("retries by default", ConnectionOptions().num_retries)]
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for account in accounts:
            group.create_task(load(account, options, stopping))
        await asyncio.sleep(BEFORE_S)
        files = [part for file in options.file for part in ("--file", file)]
        rolling = await asyncio.create_subprocess_exec(ROLLING, *files, stderr=asyncio.subprocess.DEVNULL)
        status = await rolling.wait()
        await asyncio.sleep(AFTER_S)
        stopping.set()
    if status:
        raise SystemExit(f"{ROLLING} ended with {status}")
    return accounts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--input", action="append", default=[], help="NAME=JSON[:DTYPE] or NAME=@FILE.npy")
    parser.add_argument("--router", default=os.environ.get("ALPASERVE_ROUTER", "127.0.0.1:50051"))
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second of both together")
    parser.add_argument("--file", action="append", default=[], help="a file of the compose project")
    begun_s = time.monotonic()
    accounts = asyncio.run(run(parser.parse_args()))
    title(f"Routers replaced one after another, {time.monotonic() - begun_s:.0f} s of load")
    table(("client", "requests", "failed", "retried", "p50 ms", "p99 ms"), [account.row() for account in accounts])
    if any(account.failures for account in accounts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
