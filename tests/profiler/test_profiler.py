"""The profiler as a real process: what it refuses, and what it measures."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from alpaserve.v1 import model_pb2, profile_pb2, profiler_pb2
from alpaserve_cli.processes import ServiceProcess
from alpaserve_client import AlpaServeClientError, FailedPrecondition, InvalidArgument, NotFound, ProfilerClient

from services.core.model import ModelSource, RegisteredModel
from services.infra.store.connection import connect
from services.infra.store.registry import ModelStore
from services.infra.wire import to_device_costs
from services.parallel.known_devices import known_devices
from services.profiler.session import TAKEN_OVER
from tests.conftest import System
from tests.tiny_bert import CONFIG

TINY = ModelSource(config=json.dumps(CONFIG), seed=7, sequence_length=8)
MEMORY_BYTES = 1_000_000
MODELS = (
    RegisteredModel("tiny", "tiny", TINY),
    RegisteredModel("elsewhere", "elsewhere", TINY),
    RegisteredModel("resumed", "resumed", TINY),
    RegisteredModel("sourceless", "tiny"),
)
OLDER: dict[str, Any] = {
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


COSTS = known_devices()["cpu"]
# Its costs are known: nothing is calibrated for it.
RESUMED = {
    "schema": "alpaserve.profiles/v1",
    "device": {"kind": "cpu", "costs": asdict(COSTS)},
    "models": [{"model": "resumed", "profiles": []}],
}
SHAPES = ((1, 1), (2, 1), (1, 2), (2, 2), (1, 4), (16, 1))
ALPA_ROW = "alpa-bert\t1\t1\t1\t1\t1\t1\t0.5\t0.0\t9.0\t[100]\t[150]\t[0.5]\n"


async def register(redis_url: str) -> None:
    redis = connect(redis_url)
    for model in MODELS:
        await ModelStore(redis).put(model)
    await redis.aclose()


@pytest.fixture(scope="module")
def profiler(system: System) -> Iterator[ProfilerClient]:
    asyncio.run(register(system.redis_url))
    with ProfilerClient(start_profiler(system).address) as client:
        yield client


def start_profiler(system: System) -> ServiceProcess:
    """It has two devices of the host."""
    cache_dir = system.directory / "compiled"
    return system.start(
        "profiler", num_devices=2, num_warmups=1, num_repeats=2, memory_bytes=MEMORY_BYTES, cache_dir=cache_dir
    )


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
        ({"model": "tiny", "device_kind": "abacus"}, InvalidArgument, "there are: a100, cpu, h100, h200, v100"),
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


def test_a_table_of_alpa_is_stored_or_refused_by_line(profiler: ProfilerClient) -> None:
    names = profiler.import_alpa_table(ALPA_ROW.encode())
    (stage,) = profiler.get_profile("alpa-bert").models[0].stages
    with pytest.raises(InvalidArgument, match="line 1: DP must be 1"):
        profiler.import_alpa_table(ALPA_ROW.replace("\t1\t", "\t2\t").encode())
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        profiler.import_alpa_table(b"\xff")
    assert names == ["alpa-bert"]
    assert (stage.source, list(stage.stage_latency_s), list(stage.stage_weight_bytes)) == ("imported", [0.5], [100])


def had(events: list[profiler_pb2.ProfileResponse], source: str) -> list[profile_pb2.StageProfile]:
    return [event.measured for event in events if event.measured.source == source]


def shapes(stages: Iterable[profile_pb2.StageProfile]) -> list[str]:
    return [f"{one.config.inter_op}x{one.config.intra_op} {one.batch_size}" for one in stages]


def test_what_the_devices_cannot_run_is_estimated_or_pruned_and_older_entries_stay(profiler: ProfilerClient) -> None:
    profiler.import_profiles(json.dumps(OLDER).encode())
    order = profiler_pb2.ProfileRequest(model="tiny", configs=[config(*shape) for shape in SHAPES], num_devices=16)
    events = list(profiler.profile(order, timeout_s=120))
    stored = profiler.get_profile("tiny")
    stages = stored.models[0].stages
    measured, estimated = had(events, "measured"), had(events, "estimated")
    num_layers = measured[0].boundaries[-1]
    assert shapes(measured) == ["1x1 1", "2x1 1", "1x2 1"]
    assert shapes(estimated) == ["2x2 1", "1x4 1"]
    assert shapes(stages) == ["8x1 1", *shapes(measured), *shapes(estimated)]
    assert list(stages) == list(events[-1].profile.stages)
    pruned = [event.pruned for event in events if event.HasField("pruned")]
    assert [(one.config.inter_op, one.reason) for one in pruned] == [
        (16, f"from batch 1: {num_layers} layers cannot be cut into 16 stages")
    ]
    for one in (*measured, *estimated):
        assert len(one.stage_latency_s) == len(one.stage_weight_bytes) == len(one.boundaries) - 1
        assert all(0 < latency_s < 60 for latency_s in one.stage_latency_s)
    assert {note for one in measured for note in re.findall(r"jax [\d.]+", one.note)}
    assert all("FLOP/s a device at work" in one.note for one in measured)
    assert all("its median error over the 3 measured entries" in one.note for one in estimated)
    assert (stored.memory_bytes, stored.devices_per_node, stored.device_kind) == (MEMORY_BYTES, 2, "cpu")
    assert stored.device_costs.flops_per_s > 0
    assert 0 < stored.request_overhead_s < 1


def test_a_kind_of_device_that_is_not_here_is_estimated_and_never_mixed_with_what_is(profiler: ProfilerClient) -> None:
    order = profiler_pb2.ProfileRequest(
        model="elsewhere", configs=[config(2, 1), config(1, 2)], num_devices=2, device_kind="v100", batch_sizes=[1, 16]
    )
    events = list(profiler.profile(order, timeout_s=90))
    stored = profiler.get_profile("elsewhere")
    estimated = had(events, "estimated")
    assert shapes(estimated) == ["2x1 1", "2x1 16", "1x2 1", "1x2 16"]
    assert not had(events, "measured")
    assert 0 < stored.models[0].reference_latency_s < sum(estimated[0].stage_latency_s)
    assert all("nothing measured" in one.note for one in estimated)
    assert (stored.device_kind, stored.memory_bytes, stored.devices_per_node) == ("v100", 13958643712, 8)
    order.device_kind = "a100"
    with pytest.raises(InvalidArgument, match="profile 'elsewhere' is of 'v100' devices, this order of 'a100'"):
        list(profiler.profile(order, timeout_s=5))


@pytest.mark.slow
def test_an_order_goes_on_where_its_profiler_was_killed(system: System, profiler: ProfilerClient) -> None:
    profiler.import_profiles(json.dumps(RESUMED).encode())
    order = profiler_pb2.ProfileRequest(model="resumed", configs=[config(1, 1)], batch_sizes=[1, 2])
    killed = start_profiler(system)
    with ProfilerClient(killed.address) as client:
        first = next(iter(client.profile(order, timeout_s=90))).measured
        killed.kill()
    again = had(list(profiler.profile(order, timeout_s=90)), "measured")
    assert shapes(again) == ["1x1 1", "1x1 2"]
    assert again[0].stage_latency_s == first.stage_latency_s
    assert [TAKEN_OVER in one.note for one in again] == [True, False]
    assert to_device_costs(profiler.get_profile("resumed").device_costs) == COSTS


def test_a_profile_is_forgotten_unless_a_model_costs_by_it(profiler: ProfilerClient) -> None:
    spare = {**OLDER, "models": [{**model, "model": name} for model in OLDER["models"] for name in ("spare", "tiny")]}
    profiler.import_profiles(json.dumps(spare).encode())

    profiler.remove_profile("spare")

    assert "spare" not in profiler.list_profiles()
    with pytest.raises(NotFound, match="spare"):
        profiler.remove_profile("spare")
    with pytest.raises(FailedPrecondition, match="tiny"):
        profiler.remove_profile("tiny")
