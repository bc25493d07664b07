"""Requests under way while a leader's process is killed, and how each of them ended."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alpaserve.v1 import worker_pb2, worker_pb2_grpc
from alpaserve_client import AlpaServeClientError, AsyncClient, InferResult
from numpy.typing import NDArray
from redis import Redis

from services.infra.store import keys
from tests.e2e.cluster import Cluster
from tests.waiting import until

RATE_PER_S = 60
# How requests end while their only group is away, and what an SLO adds to that.
OUTAGE = {"served", "Unavailable GROUP_UNAVAILABLE"}
LATE = {"SloUnattainable SLO_UNATTAINABLE", "DeadlineExceeded "}
Inputs = Mapping[str, NDArray[Any]]
End = InferResult | AlpaServeClientError


@dataclass
class Traffic:
    """Requests at a steady rate, however late the answers are. The models of `asked` take turns; `inputs` are by a
    request's number, and so are `ends`."""

    clients: Sequence[AsyncClient]
    asked: Sequence[str]
    inputs: Callable[[int], Inputs]
    num_sent: int = 0
    sent_s: list[float] = field(default_factory=list)
    ends: dict[int, list[End]] = field(default_factory=dict)

    async def send(self, stopped: asyncio.Event) -> None:
        """Until stopped, and until every request has ended."""
        async with asyncio.TaskGroup() as tasks:
            while not stopped.is_set():
                tasks.create_task(self._ask(self.num_sent))
                self.num_sent += 1
                self.sent_s.append(time.monotonic())
                await asyncio.sleep(1 / RATE_PER_S)

    async def _ask(self, number: int) -> None:
        try:
            end: End = await self.client_of(number).infer(
                self.model_of(number), self.inputs(number), request_id=str(number), slo_s=2.5
            )
        except AlpaServeClientError as error:
            end = error
        self.ends.setdefault(number, []).append(end)

    def model_of(self, number: int) -> str:
        return self.asked[number % len(self.asked)]

    def client_of(self, number: int) -> AsyncClient:
        return self.clients[number // len(self.asked) % len(self.clients)]

    def served(self, since_s: float = 0.0) -> dict[int, InferResult]:
        """What was sent after `since_s` and has been served."""
        return {
            number: end
            for number, (end, *_) in self.ends.items()
            if self.sent_s[number] > since_s and isinstance(end, InferResult)
        }

    def is_served(self, since_s: float = 0.0) -> bool:
        """Whether every model, and every client, has been served what was sent after `since_s`."""
        served = self.served(since_s)
        models, clients = {self.model_of(number) for number in served}, {self.client_of(number) for number in served}
        return models == set(self.asked) and clients == set(self.clients)

    def num_asked(self) -> Counter[str]:
        return Counter(self.model_of(number) for number in range(self.num_sent))

    def kinds(self, model: str) -> set[str]:
        """In which ways requests of a model ended."""
        return {kind(end) for number, ends in self.ends.items() if self.model_of(number) == model for end in ends}


async def killed_under_load(cluster: Cluster, victim: str, traffic: Traffic) -> float:
    """Let traffic run until the system serves it again after the victim's leader was killed; the instant of that."""
    stopped = asyncio.Event()
    sending = asyncio.create_task(traffic.send(stopped))
    await until(lambda: traffic.is_served() and traffic.num_sent > RATE_PER_S, 20)
    with planner_asleep(cluster):
        killed_s = kill_leader(cluster, victim)
        await until(lambda: traffic.is_served(killed_s), 40)
    stopped.set()
    await sending
    return killed_s


def kind(end: End) -> str:
    return "served" if isinstance(end, InferResult) else f"{type(end).__name__} {end.reason}"


def state(cluster: Cluster) -> tuple[object, ...]:
    """What a restart must not change: the placement with its version and addresses, and what the worker says it
    runs and holds."""
    with Redis.from_url(cluster.redis.url) as redis:
        return redis.get(keys.CURRENT_DEPLOYMENT), worker_status(cluster)


def worker_status(cluster: Cluster) -> worker_pb2.GetWorkerStatusResponse:
    stub = worker_pb2_grpc.WorkerStub(cluster.channel(cluster.worker))
    return stub.GetWorkerStatus(worker_pb2.GetWorkerStatusRequest(), timeout=10)


def num_arrivals(cluster: Cluster, models: Sequence[str]) -> Counter[str]:
    """The requests that the routers counted, per model."""
    counts: Counter[str] = Counter()
    with Redis.from_url(cluster.redis.url, decode_responses=True) as redis:
        for bucket in redis.scan_iter(f"{keys.ARRIVALS}*"):
            counts.update({name: int(count) for name, count in redis.hgetall(bucket).items() if name in models})
    return counts


def kill_leader(cluster: Cluster, model: str, by: signal.Signals = signal.SIGKILL) -> float:
    """Kill the process that leads the first group of a model, as a crash would; the instant."""
    os.kill(leader_pid(cluster, model), by)
    return time.monotonic()


def leader_pid(cluster: Cluster, model: str) -> int:
    """The process that leads the first group of a model. One that was started again may answer before its worker
    has said so."""
    give_up_at = time.monotonic() + 10
    while not Path(f"/proc/{(pid := last_started(cluster, model))}").exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    return pid


def last_started(cluster: Cluster, model: str) -> int:
    address = next(group.address for group in worker_status(cluster).groups if model in group.models)
    lines = cluster.worker.log_path.read_text().splitlines()
    started = [json.loads(line) for line in lines if '"leader_started"' in line]
    return int([record["pid"] for record in started if record["address"] == address][-1])


@contextmanager
def planner_asleep(cluster: Cluster) -> Iterator[None]:
    """Nothing that the planner could do is done meanwhile."""
    os.kill(cluster.planner.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(cluster.planner.pid, signal.SIGCONT)
