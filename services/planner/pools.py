"""Where the parts of a search run: in threads of this process, or for large problems over Ray."""

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from services.core.problem import Problem
from services.infra.ray_pool import ray_pool
from services.planner.policies.annealing.ground import Ground
from services.planner.policies.search import Pool


class Pools:
    """The planner's threads, one per core, and the Ray cluster it may use; an empty address means none."""

    def __init__(self, ray_address: str, ray_from_size: int) -> None:
        self.num_threads = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self.num_threads, "search")
        self._ray_address = ray_address
        self._ray_from_size = ray_from_size

    @property
    def threads(self) -> Pool:
        """Those of this process."""
        return self._threads.map

    @asynccontextmanager
    async def pool_for(self, problem: Problem) -> AsyncIterator[Pool]:
        """What runs the problem's legs until the block ends."""
        size = problem.num_models * problem.spec.cluster.num_devices * problem.num_requests
        if not self._ray_address or size < self._ray_from_size:
            yield self._threads.map
            return
        async with ray_pool(self._ray_address, (Ground,), self._threads.map) as pool:
            yield pool

    def close(self) -> None:
        """Take no more work; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
