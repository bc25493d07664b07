"""Requests that a system serves while a test looks at something else."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from alpaserve_client import AlpaServeClientError, AsyncClient

from tests.e2e.cluster import Cluster


@contextmanager
def asked_beside(cluster: Cluster, rate_per_s: float, model_of: Callable[[int], str]) -> Iterator[None]:
    """Requests at a steady rate while the block runs, each of the model that its number says; however they end."""
    stopped = threading.Event()

    async def ask(client: AsyncClient, number: int) -> None:
        with suppress(AlpaServeClientError):
            await client.infer(model_of(number), {}, timeout_s=5)

    async def send() -> None:
        async with cluster.client() as client, asyncio.TaskGroup() as asked:
            for number in range(10**6):
                if stopped.is_set():
                    return
                asked.create_task(ask(client, number))
                await asyncio.sleep(1 / rate_per_s)

    with ThreadPoolExecutor(1) as beside:
        sending = beside.submit(asyncio.run, send())
        try:
            yield
        finally:
            stopped.set()
            sending.result()
