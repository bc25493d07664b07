"""A real model on real (host) devices, through the whole system."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from alpaserve_client import InvalidArgument
from numpy.typing import NDArray
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.cluster import Cluster, group, model
from tests.e2e.jax_cluster import jax_cluster, source
from tests.e2e.killing import LATE, OUTAGE, Traffic, killed_under_load, state
from tests.e2e.open_inference import given
from tests.tiny_bert import CONFIG

PLACED = (group(1, 1, [0], "alone"), group(2, 1, [1, 2], "piped"))
IDS = np.array([3, 1, 4, 1, 5], dtype=np.int64)
Inputs = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with jax_cluster(tmp_path_factory.mktemp("jax"), 3) as running:
        running.register(
            model("alone", "tiny", source=source(json.dumps(CONFIG))),
            model("piped", "tiny", source=source(json.dumps(CONFIG))),
            model("sourceless", "tiny"),
            model("headless", "tiny", source=source(json.dumps(CONFIG | {"num_attention_heads": 3}))),
            model("garbled", "tiny", source=source("{")),
        )
        running.apply(*PLACED)
        yield running


async def test_a_pipeline_answers_like_a_single_device(cluster: Cluster) -> None:
    async with cluster.client() as client:
        alone = await client.infer("alone", {"input_ids": IDS})
        piped = await client.infer("piped", {"input_ids": IDS})
        other = await client.infer("piped", {"input_ids": IDS[::-1]})
    assert alone.group != piped.group
    assert sorted(alone.outputs) == sorted(piped.outputs)
    for name, output in alone.outputs.items():
        assert np.isfinite(output).all()
        np.testing.assert_allclose(piped.outputs[name], output, rtol=1e-4, atol=1e-5)
    assert any(not np.allclose(other.outputs[name], piped.outputs[name]) for name in piped.outputs)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"input_ids": IDS.astype(np.float32)}, "input_ids has dtype float32, expected int32 or int64"),
        ({"input_ids": IDS.astype(np.int16)}, "input_ids has dtype int16"),
        ({"input_ids": IDS.reshape(1, 5)}, "input_ids has shape (1, 5)"),
        ({"input_ids": np.zeros(9, dtype=np.int64)}, "input_ids has shape (9,), expected (length,) with length"),
        ({"input_ids": np.zeros(0, dtype=np.int64)}, "input_ids has shape (0,)"),
        ({"input_ids": np.array([3, 24])}, "input_ids[1] is 24, expected 0 to 23"),
        ({"input_ids": np.array([-1, 3])}, "input_ids[0] is -1"),
        ({"input_ids": IDS, "attention_mask": IDS[:2] * 0}, "attention_mask has shape (2,)"),
        ({"input_ids": IDS, "attention_mask": IDS * 0}, "attention_mask has no 1"),
        ({"input_ids": IDS, "pixels": IDS}, "unknown input 'pixels'"),
        ({}, "missing input 'input_ids'"),
    ],
)
@pytest.mark.parametrize("name", ["alone", "piped"])
async def test_inputs_that_the_model_does_not_take_are_invalid(
    cluster: Cluster, name: str, inputs: Inputs, says: str
) -> None:
    async with cluster.client() as client:
        with pytest.raises(InvalidArgument) as refused:
            await client.infer(name, inputs)
        served = await client.infer(name, {"input_ids": IDS})
    assert f"model {name!r}" in refused.value.message
    assert says in refused.value.message
    assert served.outputs


@pytest.fixture
def triton_client(cluster: Cluster) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(cluster.routers[0].address) as opened:
        yield opened


@pytest.mark.parametrize("name", ["alone", "piped"])
def test_metadata_tell_what_a_model_takes_and_gives(triton_client: triton.InferenceServerClient, name: str) -> None:
    told = triton_client.get_model_metadata(name)
    config = triton_client.get_model_config(name).config
    assert {(one.name, one.datatype, *one.shape) for one in told.inputs} == {
        ("input_ids", "INT32", -1, -1),
        ("attention_mask", "INT32", -1, -1),
        ("token_type_ids", "INT32", -1, -1),
    }
    assert [(one.name, one.datatype, *one.shape) for one in told.outputs] == [("last_hidden_state", "FP32", -1, -1, 16)]
    assert config.max_batch_size == 64
    assert {one.name: one.optional for one in config.input} == {
        "input_ids": False,
        "attention_mask": True,
        "token_type_ids": True,
    }
    assert {(one.name, *one.dims) for one in config.input} == {(one.name, -1) for one in told.inputs}
    assert [(one.name, *one.dims) for one in config.output] == [("last_hidden_state", -1, 16)]


def test_a_batch_of_one_is_an_example(triton_client: triton.InferenceServerClient) -> None:
    alone = triton_client.infer("alone", given(input_ids=IDS)).as_numpy("last_hidden_state")
    batch = triton_client.infer("alone", given(input_ids=IDS[None], attention_mask=np.ones((1, 5), np.int32)))
    assert alone.shape == (5, 16)
    assert batch.as_numpy("last_hidden_state").shape == (1, 5, 16)
    np.testing.assert_allclose(batch.as_numpy("last_hidden_state")[0], alone, rtol=1e-5)


def test_a_batch_has_the_outputs_of_its_examples(triton_client: triton.InferenceServerClient) -> None:
    examples = [IDS, IDS[::-1], IDS % 3]
    before = triton_client.get_inference_statistics("piped").model_stats[0]
    batch = triton_client.infer("piped", given(input_ids=np.stack(examples)))
    after = triton_client.get_inference_statistics("piped").model_stats[0]
    alone = [triton_client.infer("piped", given(input_ids=one)).as_numpy("last_hidden_state") for one in examples]
    np.testing.assert_allclose(batch.as_numpy("last_hidden_state"), np.stack(alone), rtol=1e-4, atol=1e-5)
    assert after.inference_count - before.inference_count == len(examples)
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"input_ids": np.stack([IDS, -IDS])}, r"example 1: model 'alone': input_ids\[0\] is -3"),
        ({"input_ids": np.stack([IDS] * 65)}, "a batch of 65 examples, allowed are 64"),
        ({"input_ids": np.ones((1, 2, 5), np.int32)}, r"input_ids has shape \(1, 2, 5\)"),
        ({"input_ids": IDS[None], "attention_mask": np.ones(5, np.int32)}, r"input_ids has shape \(1, 5\)"),
        ({"input_ids": np.array([b"Where", b"is"], object)}, "input 'input_ids' is of strings"),
        ({"input_ids": IDS.astype(ml_dtypes.bfloat16)}, "input_ids has dtype bfloat16, expected int32 or int64"),
    ],
)
def test_what_a_model_does_not_take_is_an_invalid_argument(
    triton_client: triton.InferenceServerClient, inputs: Inputs, says: str
) -> None:
    with pytest.raises(InferenceServerException, match=says) as refused:
        triton_client.infer("alone", given(**inputs))
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_an_output_that_a_model_lacks_is_refused_before_it_runs(triton_client: triton.InferenceServerClient) -> None:
    asked = [triton.InferRequestedOutput("pooled")]
    with pytest.raises(InferenceServerException, match="no output 'pooled'; there are: last_hidden_state") as refused:
        triton_client.infer("alone", given(input_ids=np.array([-1])), outputs=asked)
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sourceless", "model 'sourceless' has no source: only emulated devices can serve it"),
        ("headless", "hidden_size 16 is not a multiple of num_attention_heads 3"),
        ("garbled", "JSON"),
    ],
)
async def test_a_model_that_cannot_be_loaded_leaves_the_placement_as_it_was(
    cluster: Cluster, name: str, says: str
) -> None:
    before = cluster.placement()
    with pytest.raises(InvalidArgument) as refused:
        cluster.apply(group(1, 1, [0], "alone", name), *PLACED[1:])
    after = cluster.placement()
    async with cluster.client() as client:
        served = await client.infer("alone", {"input_ids": IDS})
    assert says in refused.value.message
    assert after == before
    assert served.outputs


async def test_a_group_whose_leader_is_killed_answers_as_before_and_its_neighbour_serves_throughout(
    cluster: Cluster,
) -> None:
    before = state(cluster)
    async with cluster.client() as client:
        traffic = Traffic((client,), ("alone", "piped", "alone"), sentence)
        killed_s = await killed_under_load(cluster, "piped", traffic)
    assert {number: len(ends) for number, ends in traffic.ends.items()} == dict.fromkeys(range(traffic.num_sent), 1)
    assert traffic.kinds("alone") - LATE == {"served"}
    assert traffic.kinds("piped") - LATE - {"Unavailable OUTCOME_UNKNOWN"} == OUTAGE
    assert state(cluster) == before
    assert_same_outputs(traffic, killed_s)


def sentence(number: int) -> Inputs:
    """One of four for the requests of a round, and again four rounds later."""
    return {"input_ids": np.arange(1, 5, dtype=np.int64) + number // 3 % 4}


def assert_same_outputs(traffic: Traffic, killed_s: float) -> None:
    """Of what was sent before and after the kill, to either model."""
    after = traffic.served(killed_s)
    outputs = {number % 12: end.outputs for number, end in traffic.served().items() if number not in after}
    assert {number % 3 for number in after if number % 12 in outputs} == {0, 1, 2}
    for number, end in after.items():
        for name, output in outputs.get(number % 12, {}).items():
            np.testing.assert_array_equal(end.outputs[name], output)
