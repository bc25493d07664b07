"""Broken messages, many at once: every call ends, with a status that says whose fault it is, and nobody is harmed."""

import asyncio
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode, aio
from tritonclient import grpc as triton

from tests.e2e.cluster import Cluster, group
from tests.e2e.fuzzing import broken, sound_messages
from tests.e2e.open_inference import INSTANT, SERVICE, given, with_instant

NUM_IN_FLIGHT = 128
HANGS_AFTER_S = 60.0
OURS = {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS, StatusCode.UNAVAILABLE}


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    with_instant(shared_cluster)
    shared_cluster.apply(group(1, 1, [3], INSTANT), group(2, 1, [4, 5], INSTANT))
    return shared_cluster


async def outcome(channel: aio.Channel, method: str, content: bytes) -> StatusCode:
    """How a call with these bytes ends; a stream has them twice. Raises: TimeoutError if it does not."""
    async with asyncio.timeout(HANGS_AFTER_S):
        if method == "ModelStreamInfer":
            streaming: Any = channel.stream_stream(f"/{SERVICE}/{method}", None, None)
            stream = streaming(iter([content, content]))
            async for _ in stream:
                pass
            return await answered(stream)
        asking: Any = channel.unary_unary(f"/{SERVICE}/{method}", None, None)
        return await answered(asking(content))


async def answered(call: Any) -> StatusCode:
    code: StatusCode = await call.code()
    return code


async def outcomes(address: str, num_messages: int) -> Counter[StatusCode]:
    number = random.Random(num_messages)
    sound = sound_messages(number)
    messages = (broken(number, sound) for _ in range(num_messages))
    codes: Counter[StatusCode] = Counter()
    async with aio.insecure_channel(address) as channel, asyncio.TaskGroup() as senders:

        async def send() -> None:
            for method, content in messages:
                codes[await outcome(channel, method, content)] += 1

        for _ in range(NUM_IN_FLIGHT):
            senders.create_task(send())
    return codes


def state(cluster: Cluster) -> tuple[list[int], int]:
    """The processes that run, and how many leaders were lost so far."""
    running = [process.pid for process in cluster.system.processes if not process.has_exited]
    return running, cluster.worker.log_path.read_text().count("leader_lost")


@pytest.mark.parametrize(
    "num_messages",
    [2_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])],
)
async def test_broken_messages_harm_nobody(cluster: Cluster, num_messages: int) -> None:
    before = state(cluster)
    codes = await outcomes(cluster.routers[0].address, num_messages)
    print(num_messages, "messages:", {code.name: count for code, count in codes.most_common()})
    assert sum(codes.values()) == num_messages
    assert not OURS & codes.keys()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND} <= codes.keys()
    assert state(cluster) == before
    assert all(cluster.is_serving(process) for process in cluster.system.processes)
    with triton.InferenceServerClient(cluster.routers[0].address) as client:
        assert client.infer(INSTANT, given(x=np.arange(3))).as_numpy("x").tolist() == [0, 1, 2]
