"""Requests that arrive whatever becomes of the earlier ones, from a process of their own; latency counts from the
arrival that was meant."""

import asyncio
import multiprocessing
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import uvloop
from grpc import aio

from benchmarks.serving_load import INFER, request

TIMEOUT_S = 30.0
NUM_CHANNELS = 4


@dataclass(slots=True)
class Outcomes:
    """Seconds from arrival to answer, by status of gRPC, and how long the arrivals took in all."""

    seconds: float
    latency_s: dict[str, list[float]] = field(default_factory=dict)

    def note(self, status: str, latency_s: float) -> None:
        self.latency_s.setdefault(status, []).append(latency_s)

    @property
    def counts(self) -> Counter[str]:
        return Counter({status: len(latencies) for status, latencies in self.latency_s.items()})

    def goodput_per_s(self, slo_s: float) -> float:
        """Served within the SLO."""
        return sum(latency_s <= slo_s for latency_s in self.latency_s.get("OK", ())) / self.seconds

    def percentile_ms(self, status: str, percent: float) -> float:
        """NaN if nothing ended so."""
        latencies = self.latency_s.get(status)
        return 1e3 * float(np.percentile(latencies, percent)) if latencies else float("nan")


def open_loop(address: str, rate_per_s: float, seconds: float, seed: int = 0) -> Outcomes:
    """Poisson arrivals of the echo."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (address, rate_per_s, seconds, seed))


def _run(address: str, rate_per_s: float, seconds: float, seed: int) -> Outcomes:
    outcomes: Outcomes = uvloop.run(_arrive(address, rate_per_s, seconds, seed))
    return outcomes


async def _arrive(address: str, rate_per_s: float, seconds: float, seed: int) -> Outcomes:
    gaps_s = np.random.default_rng(seed).exponential(1 / rate_per_s, round(rate_per_s * seconds))
    outcomes = Outcomes(float(gaps_s.sum()))
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [aio.insecure_channel(address, options) for _ in range(NUM_CHANNELS)]
    calls: list[Any] = [channel.unary_unary(INFER, None, None) for channel in channels]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    message = request().SerializeToString()

    async def ask(number: int, due_s: float) -> None:
        try:
            await calls[number % NUM_CHANNELS](message, timeout=TIMEOUT_S)
            status = "OK"
        except aio.AioRpcError as error:
            code: grpc.StatusCode = error.code()
            status = code.name
        outcomes.note(status, time.monotonic() - due_s)

    async with asyncio.TaskGroup() as tasks:
        due_s = time.monotonic()
        for number, gap_s in enumerate(gaps_s):
            due_s += gap_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            tasks.create_task(ask(number, due_s))
    for channel in channels:
        await channel.close(None)
    return outcomes
