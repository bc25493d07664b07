"""Triton's own client, unchanged, against the running system: it infers, lists, loads and unloads."""

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.cluster import Cluster
from tests.e2e.open_inference import given

ONES = np.ones((2, 3), np.float32)
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture
def client(cluster: Cluster) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(cluster.routers[0].address) as opened:
        yield opened


def states(client: triton.InferenceServerClient) -> dict[str, tuple[str, str]]:
    return {model.name: (model.state, model.reason) for model in client.get_model_repository_index().models}


def test_the_server_tells_of_itself(client: triton.InferenceServerClient) -> None:
    told = client.get_server_metadata()
    assert client.is_server_live()
    assert client.is_server_ready()
    assert told.name == "alpaserve"
    assert {"model_repository", "binary_tensor_data"} <= set(told.extensions)


def test_a_model_is_ready_where_a_group_holds_it(client: triton.InferenceServerClient) -> None:
    ready = {name: client.is_model_ready(name) for name in ("quick", "hasty", "slow", "idle", "stranger")}
    assert ready == {"quick": True, "hasty": True, "slow": True, "idle": False, "stranger": False}
    assert states(client)["quick"] == ("READY", "")
    assert states(client)["idle"] == ("UNAVAILABLE", "placed nowhere")


def test_an_answer_tells_what_became_of_its_request(client: triton.InferenceServerClient, cluster: Cluster) -> None:
    answer = client.infer("quick", given(x=ONES, n=np.array(7)), request_id="mine")
    told = answer.get_response()
    placement = cluster.placement()
    np.testing.assert_array_equal(answer.as_numpy("x"), ONES)
    assert answer.as_numpy("n") == 7
    assert (told.model_name, told.model_version, told.id) == ("quick", "1", "mine")
    assert told.parameters["group"].string_param in {group.name for group in placement.groups}
    assert told.parameters["placement_version"].int64_param == placement.version
    assert told.parameters["batch_size"].int64_param == 1
    assert told.parameters["execution_time_s"].double_param > 0.01
    assert told.parameters["queue_time_s"].double_param >= 0
    assert told.parameters["predicted_finish_s"].double_param > 0.01


def test_only_the_outputs_that_are_asked_for_come_back(client: triton.InferenceServerClient) -> None:
    asked = [triton.InferRequestedOutput("b")]
    answer = client.infer("quick", given(a=ONES, b=2 * ONES, c=ONES), outputs=asked)
    assert [output.name for output in answer.get_response().outputs] == ["b"]
    np.testing.assert_array_equal(answer.as_numpy("b"), 2 * ONES)


@pytest.mark.parametrize("parameters", [{}, {"parameters": {"colour": "red"}}, {"priority": 1}])
def test_the_timeout_of_a_request_is_its_slo(client: triton.InferenceServerClient, parameters: dict[str, Any]) -> None:
    with pytest.raises(InferenceServerException, match=r"allowed are 0\.[45]") as refused:
        client.infer("slow", given(x=ONES), timeout=500_000, **parameters)
    assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_the_deadline_of_a_call_is_its_slo(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer("slow", given(x=ONES), client_timeout=0.5)
    assert refused.value.status() in ("StatusCode.RESOURCE_EXHAUSTED", "StatusCode.DEADLINE_EXCEEDED")


def test_requests_of_a_stream_are_answered_as_they_end(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    names = [f"r{number}" for number in range(20)]
    for name in names:
        client.async_stream_infer("quick", given(x=ONES), request_id=name)
    client.async_stream_infer("stranger", given(x=ONES), request_id="lost")
    ended = [answers.get(timeout=30) for _ in range(21)]
    client.stop_stream()
    assert sorted(result.get_response().id for result, error in ended if error is None) == sorted(names)
    assert ["no model 'stranger' is registered" in str(error) for _, error in ended if error is not None] == [True]


def test_a_router_that_goes_away_answers_what_its_streams_asked_before(cluster: Cluster) -> None:
    leaving = cluster.system.start("router")
    watch = cluster.health(leaving).Watch(health_pb2.HealthCheckRequest(), timeout=30)
    next(watch)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(leaving.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for model, request_id in (("slow", "before"), ("quick", "mark")):
            client.async_stream_infer(model, given(x=ONES), request_id=request_id)
        mark, _ = answers.get(timeout=30)
        leaving.child.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        client.async_stream_infer("quick", given(x=ONES), request_id="after")
        ended = [answers.get(timeout=30) for _ in range(2)]
    assert mark.get_response().id == "mark"
    (before, _), (_, error) = ended
    assert before.get_response().id == "before"
    assert (error.status(), error.message()) == ("StatusCode.UNAVAILABLE", "this process is going away")
    assert leaving.child.wait(10)


def test_statistics_count_what_was_asked(client: triton.InferenceServerClient) -> None:
    before = client.get_inference_statistics("slow").model_stats[0]
    client.infer("slow", given(x=ONES))
    with pytest.raises(InferenceServerException):
        client.infer("slow", given(x=ONES), timeout=1)
    after = client.get_inference_statistics("slow").model_stats[0]
    stats = after.inference_stats
    assert (after.inference_count, after.execution_count) == (before.inference_count + 1, before.execution_count + 1)
    assert stats.success.count == before.inference_stats.success.count + 1
    assert stats.fail.count == before.inference_stats.fail.count + 1
    assert stats.compute_infer.ns - before.inference_stats.compute_infer.ns >= 1.5e9
    assert stats.success.ns >= stats.compute_infer.ns + stats.queue.ns
    parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert {part.count for part in parts} == {stats.success.count}
    assert [one.batch_size for one in after.batch_stats] == [1]


def test_a_model_is_loaded_and_unloaded_and_all_else_stays(
    client: triton.InferenceServerClient, cluster: Cluster
) -> None:
    before = cluster.placement()
    client.load_model("idle")
    loaded = states(client)["idle"]
    answer = client.infer("idle", given(x=ONES))
    client.load_model("idle")
    twice = cluster.placement()
    client.unload_model("idle")
    after = cluster.placement()
    assert loaded == ("READY", "")
    assert answer.get_response().model_name == "idle"
    assert twice.version == before.version + 1
    assert list(after.groups) == list(before.groups)
    assert not client.is_model_ready("idle")
    with pytest.raises(InferenceServerException) as refused:
        client.infer("idle", given(x=ONES))
    assert refused.value.status() == "StatusCode.FAILED_PRECONDITION"


def test_every_model_can_be_unloaded_and_loaded_again(client: triton.InferenceServerClient, cluster: Cluster) -> None:
    for name in ("quick", "hasty", "slow"):
        client.unload_model(name)
    emptied = cluster.placement()
    client.load_model("slow")
    client.load_model("slow")
    assert [list(group.models) for group in emptied.groups] == [[], []]
    assert client.is_model_ready("slow")
    assert client.is_server_ready()


@pytest.mark.parametrize("change", ["load_model", "unload_model"])
def test_what_the_planner_refuses_is_refused_in_its_words(client: triton.InferenceServerClient, change: str) -> None:
    with pytest.raises(InferenceServerException, match="no model 'stranger' is registered") as refused:
        getattr(client, change)("stranger")
    assert refused.value.status() == "StatusCode.NOT_FOUND"


def test_a_model_is_not_loaded_with_another_config(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="without parameters; got config") as refused:
        client.load_model("idle", config="{}")
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("ask", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
@pytest.mark.parametrize("arguments", [("stranger",), ("quick", "7")])
def test_nothing_is_told_of_what_does_not_exist(
    client: triton.InferenceServerClient, ask: str, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(InferenceServerException, match=arguments[-1]) as refused:
        getattr(client, ask)(*arguments)
    assert refused.value.status() == "StatusCode.NOT_FOUND"


def test_emulated_devices_say_that_they_take_anything(client: triton.InferenceServerClient) -> None:
    told, config = client.get_model_metadata("hasty"), client.get_model_config("hasty").config
    assert (told.name, list(told.versions), list(told.inputs), list(told.outputs)) == ("hasty", ["1"], [], [])
    assert config.max_batch_size == 0
    assert float(config.parameters["slo_s"].string_value) == 0.1
    assert len(config.instance_group) == 1


def test_reflection_tells_of_the_service_by_its_public_name(cluster: Cluster) -> None:
    described = ProtoReflectionDescriptorDatabase(cluster.channel(cluster.routers[0]))
    file = described.FindFileContainingSymbol(SERVICE)
    assert SERVICE in described.get_services()
    assert file.package == "inference"
    assert {method.name for method in file.service[0].method} >= {"ModelInfer", "RepositoryModelLoad"}
