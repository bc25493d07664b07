"""The profiler as a real process: what it refuses, and what it measures."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from alpaserve.v1 import model_pb2, profile_pb2, profiler_pb2
from alpaserve_client import AlpaServeClientError, InvalidArgument, NotFound, ProfilerClient

from services.core.model import ModelSource, RegisteredModel
from services.infra.store.connection import connect
from services.infra.store.registry import ModelStore
from services.profiler.measuring import all_configs
from tests.conftest import System

CONFIG = {
    "model_type": "bert",
    "vocab_size": 24,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
}
TINY = ModelSource(config=json.dumps(CONFIG), seed=7, sequence_length=8)
MODELS = (
    RegisteredModel("tiny", "tiny", TINY),
    RegisteredModel("sourceless", "tiny"),
)
OLDER = {
    "schema": "alpaserve.profiles/v1",
    "models": [
        {
            "model": "tiny",
            "profiles": [
                {
                    "inter_op": inter_op,
                    "intra_op": 1,
                    "batch_size": 1,
                    "stage_latency_s": [1000.0] * inter_op,
                    "stage_weight_bytes": [1] * inter_op,
                    "source": "imported",
                }
                for inter_op in (1, 8)
            ],
        }
    ],
}


async def register(redis_url: str) -> None:
    redis = connect(redis_url)
    for model in MODELS:
        await ModelStore(redis).put(model)
    await redis.aclose()


@pytest.fixture(scope="module")
def profiler(system: System) -> Iterator[ProfilerClient]:
    """It has two devices of the host."""
    asyncio.run(register(system.redis_url))
    process = system.start(
        "profiler", num_devices=2, num_warmups=1, num_repeats=2, memory_bytes=12345, cache_dir=system.directory
    )
    with ProfilerClient(process.address) as client:
        yield client


def config(inter_op: int, intra_op: int) -> model_pb2.ParallelConfig:
    return model_pb2.ParallelConfig(inter_op=inter_op, intra_op=intra_op)


@pytest.mark.parametrize(
    ("order", "kind", "says"),
    [
        ({"model": "stranger"}, NotFound, "'stranger'"),
        ({"model": "sourceless"}, InvalidArgument, "'sourceless' has no source"),
        ({"model": "tiny", "configs": [config(2, 2)]}, InvalidArgument, "config 2x2 needs more than the 2 devices"),
        ({"model": "tiny", "configs": [config(1, 1), config(3, 1)]}, InvalidArgument, "config 3x1"),
        ({"model": "tiny", "configs": [config(0, 1)]}, InvalidArgument, "0x1"),
        ({"model": "tiny", "batch_sizes": [1, 0]}, InvalidArgument, "batch sizes must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(
    profiler: ProfilerClient, order: dict[str, Any], kind: type[AlpaServeClientError], says: str
) -> None:
    with pytest.raises(kind) as refused:
        list(profiler.profile(profiler_pb2.ProfileRequest(**order), timeout_s=5))
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the profile is not JSON"),
        (b"inter_op: 1", "the profile is not JSON"),
        (b"[" * 100_000, "the profile is not JSON"),
        (b"null", "expected an object"),
        (b'{"schema": "alpaserve.spec/v1"}', "schema"),
    ],
)
def test_an_import_that_is_no_profile_is_refused(profiler: ProfilerClient, content: bytes, says: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        profiler.import_profiles(content)
    assert says in refused.value.message


def measured(events: list[profiler_pb2.ProfileResponse]) -> list[profile_pb2.StageProfile]:
    return [event.measured for event in events if event.HasField("measured")]


def test_a_measurement_replaces_what_it_measured_again_and_keeps_the_rest(profiler: ProfilerClient) -> None:
    profiler.import_profiles(json.dumps(OLDER).encode())
    order = profiler_pb2.ProfileRequest(model="tiny", configs=[config(1, 1), config(2, 1)], batch_sizes=[1, 2])
    events = list(profiler.profile(order, timeout_s=120))
    stored = profiler.get_profile("tiny")
    stages = stored.models[0].stages
    shapes = [(one.config.inter_op, one.config.intra_op, one.batch_size) for one in measured(events)]
    assert shapes == [(1, 1, 1), (1, 1, 2), (2, 1, 1), (2, 1, 2)]
    assert [len(one.stage_latency_s) for one in measured(events)] == [1, 1, 2, 2]
    assert all(0 < latency_s < 60 for one in measured(events) for latency_s in one.stage_latency_s)
    assert all(num_bytes > 0 for one in measured(events) for num_bytes in one.stage_weight_bytes)
    assert {one.source for one in measured(events)} == {"measured"}
    assert [one.config.inter_op for one in stages if one.source == "imported"] == [8]
    assert [one for one in stages if one.source == "measured"] == measured(events)
    assert list(stages) == list(events[-1].profile.stages)
    assert (stored.memory_bytes, stored.devices_per_node, stored.device_kind) == (12345, 2, "cpu")
    assert 0 < stored.request_overhead_s < 1


@pytest.mark.parametrize(
    ("num_devices", "configs"),
    [(1, "1x1"), (2, "1x1 1x2 2x1"), (3, "1x1 1x2 2x1"), (4, "1x1 1x2 1x4 2x1 2x2 4x1")],
)
def test_without_configs_all_powers_of_two_that_the_devices_can_run_are_measured(
    num_devices: int, configs: str
) -> None:
    assert " ".join(map(str, all_configs(num_devices))) == configs
