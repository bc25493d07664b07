"""A real group leader over emulated devices, how long it needs for many requests, and how idle it leaves stage 0."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic, process_time

import uvloop
from alpaserve.v1 import leader_pb2, router_pb2, tensor_pb2

from services.core.model import RegisteredModel
from services.infra.messages import Messages
from services.worker.leader.dataplane import DataPlane
from services.worker.leader.emulated import EmulatedExecutor, Emulation
from services.worker.leader.executor import Replica, Tensors
from services.worker.leader.flight import Flight, Outcome
from services.worker.leader.group import GroupLeader

_NO_INPUTS: Tensors = {}
_LARGEST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Makespan:
    """From the first request's admission to the last one's end, and the seconds between stage 0's falling
    idle and its next start, with work waiting."""

    num_stages: int
    makespan_s: float
    gaps_s: tuple[float, ...]


class GapProbe(EmulatedExecutor):
    """Emulated devices that note when stage 0 falls idle by their own timeline, and when it is next used."""

    def __init__(self, inter_op: int) -> None:
        super().__init__(inter_op)
        self.gaps_s: list[float] = []
        self._idle_s = math.nan

    async def run_stage(self, model: str, stage: int, activation: Emulation | tuple[Emulation, ...]) -> Emulation:
        if stage:
            return await super().run_stage(model, stage, activation)
        if not math.isnan(self._idle_s):
            self.gaps_s.append(monotonic() - self._idle_s)
        ended = await super().run_stage(model, stage, activation)
        self._idle_s = ended.ready_s
        return ended


class SleepingProbe(GapProbe):
    """The same, but each stage begins when it is told, however late that is: delays add up."""

    async def run_stage(self, model: str, stage: int, activation: Emulation | tuple[Emulation, ...]) -> Emulation:
        self._free_at[stage] = monotonic()
        return await super().run_stage(model, stage, activation)


def replicas(num_models: int, num_stages: int, stage_s: float) -> list[Replica]:
    stages = (stage_s,) * num_stages
    return [Replica(RegisteredModel(f"m{m}", "p"), stages, (1,) * num_stages) for m in range(num_models)]


async def execute(leader: GroupLeader, model: str, inputs: Tensors, remaining_s: float = math.inf) -> Outcome:
    """Admit and run one request that must end within `remaining_s`. Who stops waiting abandons it, as streams do."""
    admission = leader.admit(model, inputs, remaining_s)
    if not isinstance(admission, Flight):
        return admission
    ended: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
    admission.when_over(lambda outcome: None if ended.done() else ended.set_result(outcome))
    try:
        outcome = await ended
    except asyncio.CancelledError:
        leader.abandon(admission)
        raise
    if outcome is None:
        raise asyncio.CancelledError
    return outcome


async def led(probe: GapProbe, models: Sequence[Replica], num_requests: int) -> Makespan:
    """All requests at once, the models in turn."""
    num_stages = len(models[0].stage_latency_s)
    async with GroupLeader("g", num_stages, probe, num_requests) as leader:
        for replica in models:
            await leader.load(replica)
        began_s = monotonic()
        names = [models[number % len(models)].model.name for number in range(num_requests)]
        await asyncio.gather(*(execute(leader, name, _NO_INPUTS) for name in names))
        return Makespan(num_stages, monotonic() - began_s, tuple(probe.gaps_s))


class InstantDevices(EmulatedExecutor):
    """Stages that take no time: all that is left is the leader's own work."""

    async def run_stage(self, model: str, stage: int, activation: Emulation | tuple[Emulation, ...]) -> Emulation:
        await asyncio.sleep(0)
        return activation if isinstance(activation, Emulation) else activation[0]


async def own_work_s(models: Sequence[Replica], num_in_flight: int, num_requests: int) -> float:
    """Processor seconds of a leader per request, as many requests in flight all the time."""
    num_stages = len(models[0].stage_latency_s)
    numbers = iter(range(num_requests))
    async with GroupLeader("g", num_stages, InstantDevices(num_stages), num_in_flight) as leader:
        for replica in models:
            await leader.load(replica)

        async def caller() -> None:
            for number in numbers:
                await execute(leader, models[number % len(models)].model.name, _NO_INPUTS)

        began_s = process_time()
        await asyncio.gather(*(caller() for _ in range(num_in_flight)))
        return (process_time() - began_s) / num_requests


async def through_stream(models: Sequence[Replica], num_requests: int) -> Makespan:
    """The same over the real data plane, the leader in a process of its own; the makespan is the caller's."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs, list(models), num_requests))
    server.start()
    try:
        port = await asyncio.to_thread(ours.recv)
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(Caller, "127.0.0.1", port)
        began_s = monotonic()
        caller.ask_all(models, num_requests)
        await caller.is_answered.wait()
        makespan_s = monotonic() - began_s
        caller.close()
        if caller.num_served != num_requests:
            raise RuntimeError(f"{caller.num_served} of {num_requests} requests served")
        ours.send(None)
        gaps_s = await asyncio.to_thread(ours.recv)
    finally:
        server.join()
    return Makespan(len(models[0].stage_latency_s), makespan_s, gaps_s)


class Caller(Messages[leader_pb2.FromLeader]):
    """A router, as far as the leader can tell."""

    def __init__(self) -> None:
        super().__init__(leader_pb2.FromLeader, _LARGEST_BYTES)
        self.num_served = 0
        self.is_answered = asyncio.Event()
        self._num_unanswered = 0

    def ask_all(self, models: Sequence[Replica], num_requests: int) -> None:
        self._num_unanswered = num_requests
        self.send(leader_pb2.ToLeader(open=leader_pb2.Open(group="g", router="r")))
        tensor = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_INT64, shape=[1], data=bytes(8))
        for number in range(num_requests):
            name = models[number % len(models)].model.name
            request = router_pb2.InferRequest(model=name, inputs={"n": tensor})
            submit = leader_pb2.Submit(sequence=number + 1, request=request.SerializeToString())
            self.send(leader_pb2.ToLeader(submit=submit))

    def received(self, message: leader_pb2.FromLeader) -> None:
        if message.HasField("opened"):
            return
        self.num_served += message.HasField("served")
        self._num_unanswered -= 1
        if not self._num_unanswered:
            self.is_answered.set()


def _serve(pipe: Connection, models: list[Replica], num_requests: int) -> None:
    uvloop.run(_serve_until_told(pipe, models, num_requests))


async def _serve_until_told(pipe: Connection, models: list[Replica], num_requests: int) -> None:
    num_stages = len(models[0].stage_latency_s)
    probe = GapProbe(num_stages)
    async with GroupLeader("g", num_stages, probe, num_requests) as leader:
        for replica in models:
            await leader.load(replica)
        plane = DataPlane({"g": leader}, _LARGEST_BYTES)
        pipe.send(await plane.open("127.0.0.1", 0))
        await asyncio.to_thread(pipe.recv)
        await plane.close()
    pipe.send(tuple(probe.gaps_s))
