"""Whether a group's stages overlap, and what it costs to hand a request from one stage to the next.

`python -m benchmarks.pipelining`. First a real leader over emulated devices, on the kind of event loop that
leaders have; then a real model on the host's processor, split into devices, led in a Ray actor.
"""

from collections.abc import Coroutine, Iterator
from statistics import median
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import ray
import uvloop

from benchmarks.jax_borders import HIDDEN_SIZE, NUM_LAYERS, SEQUENCE_LENGTH, BorderProbe, Borders
from benchmarks.leaders import GapProbe, Makespan, SleepingProbe, led, own_work_s, replicas, through_stream
from benchmarks.report import table, title
from services.infra.ray_cluster import LOCAL, join_cluster, leave_cluster, start_actor
from services.parallel.environment import device_environment

_STAGE_S, _REQUESTS, _MODELS = 0.02, 100, 4
_STAGES = (1, 2, 4, 8)
_CALLS = 500
ResultT = TypeVar("ResultT")


def run(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """On the loop that Ray gives its actors."""
    result: ResultT = uvloop.run(coroutine)
    return result


def makespan_row(name: str, ran: Makespan) -> tuple[object, ...]:
    ideal_s = (ran.num_stages + _REQUESTS - 1) * _STAGE_S
    gaps_ms = 1000 * np.array(ran.gaps_s)
    high_ms = float(np.percentile(gaps_ms, 99))
    return name, ran.num_stages, ideal_s, ran.makespan_s / ideal_s, float(np.median(gaps_ms)), high_ms


def makespan_rows() -> Iterator[tuple[object, ...]]:
    for num_stages in _STAGES:
        models = replicas(_MODELS, num_stages, _STAGE_S)
        yield makespan_row("emulated", run(led(GapProbe(num_stages), models, _REQUESTS)))
    for num_stages in _STAGES:
        models = replicas(_MODELS, num_stages, _STAGE_S)
        yield makespan_row("begins when told", run(led(SleepingProbe(num_stages), models, _REQUESTS)))
    yield makespan_row("emulated, over a connection", run(through_stream(replicas(_MODELS, 4, _STAGE_S), _REQUESTS)))


def work_rows() -> Iterator[tuple[object, ...]]:
    for num_in_flight in (1, 10, 100, 1000):
        seconds = [run(own_work_s(replicas(_MODELS, k, 1e-4), num_in_flight, 3000)) for k in _STAGES]
        yield num_in_flight, *(1e6 * one for one in seconds)


def border_rows() -> Iterator[tuple[object, ...]]:
    join_cluster(LOCAL, 80 * 2**20)
    try:
        for num_stages in (2, 4):
            probe = start_actor(BorderProbe, device_environment(num_stages, "cpu"))
            borders: Borders = ray.get(probe.borders.remote(num_stages, 200))
            call_s = ray_call_s(probe)
            ray.kill(probe)
            yield num_stages, *(1e6 * one for one in (borders.stage_s, borders.border_s, borders.move_s, call_s))
    finally:
        leave_cluster()


def ray_call_s(actor: Any) -> float:
    """The median of a call that does nothing, one at a time."""
    seconds = []
    for _ in range(_CALLS):
        began_s = monotonic()
        ray.get(actor.ping.remote())
        seconds.append(monotonic() - began_s)
    return median(seconds)


def main() -> None:
    title(f"{_REQUESTS} requests of {_MODELS} models at once through stages of {1000 * _STAGE_S:g} ms")
    header = ("devices", "stages", "(stages + n - 1) · s, s", "measured / that")
    table((*header, "stage 0 idle with work waiting: median ms", "p99 ms"), makespan_rows())
    title("A leader's own processor time per request, stages that take no time, µs")
    table(("in flight", *(f"{num_stages} stages" for num_stages in _STAGES)), work_rows())
    shape = f"BERT of {NUM_LAYERS} layers, {HIDDEN_SIZE} wide, {SEQUENCE_LENGTH} tokens"
    title(f"From one stage to the next, {shape}, one request at a time on host devices, medians in µs")
    table(("stages", "a stage", "a border", "of that the move", "a Ray actor call"), border_rows())


if __name__ == "__main__":
    main()
