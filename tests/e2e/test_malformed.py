"""Nonsense from clients: the right status, the offending value by name, and nobody harmed."""

from itertools import cycle, islice

import grpc
import numpy as np
import pytest
from alpaserve.v1 import router_pb2
from alpaserve_client import ResourceExhausted, SloUnattainable

from tests.e2e.cluster import Cluster, group, model
from tests.e2e.malformed_calls import MALFORMED, Malformed, refusal

SERVICES = ("Router", "Planner", "Worker", "Profiler")


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    shared_cluster.register(model("wide"), model("tall"))
    shared_cluster.apply(group(1, 1, [0], "quick"))
    return shared_cluster


@pytest.mark.parametrize("call", MALFORMED, ids=str)
def test_a_malformed_call_is_told_its_status_and_the_offending_value(cluster: Cluster, call: Malformed) -> None:
    content = call.request.SerializeToString()
    code, message = refusal(cluster.channel(cluster.process(call.service)), call.service, call.method, content)
    assert code is call.code
    assert call.says in message


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("content", [b"\xff\xff\xff\xff", b"\x0a\x05ab"])
def test_bytes_that_are_no_message_end_the_call_only(cluster: Cluster, service: str, content: bytes) -> None:
    methods = {"Router": "Infer", "Planner": "ApplyPlan", "Worker": "LoadModel", "Profiler": "GetProfile"}
    code, _ = refusal(cluster.channel(cluster.process(service)), service, methods[service], content)
    assert code is not grpc.StatusCode.OK
    assert cluster.is_serving(cluster.process(service))


@pytest.mark.parametrize("service", SERVICES)
def test_a_method_that_no_service_has_is_unimplemented(cluster: Cluster, service: str) -> None:
    code, _ = refusal(cluster.channel(cluster.process(service)), service, "Explode", b"")
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_above_the_size_limit_is_resource_exhausted_but_no_slo_rejection(cluster: Cluster) -> None:
    async with cluster.client() as client:
        too_large = np.zeros(64 * 2**20 - 100, dtype=np.int8)
        with pytest.raises(ResourceExhausted) as refused:
            await client.infer("quick", {"x": too_large, "y": np.zeros(100, dtype=np.int8)})
    assert not isinstance(refused.value, SloUnattainable)
    assert refused.value.reason == ""


async def test_a_thousand_malformed_calls_leave_every_process_healthy(cluster: Cluster) -> None:
    channels = {service: cluster.channel(cluster.process(service)) for service in SERVICES}
    calls = list(islice(cycle(MALFORMED), 1000))
    codes = [
        refusal(channels[call.service], call.service, call.method, call.request.SerializeToString())[0]
        for call in calls
    ]
    async with cluster.client() as client:
        result = await client.infer("quick", {"x": np.ones(3)})
    assert codes == [call.code for call in calls]
    assert all(cluster.is_serving(cluster.process(service)) for service in SERVICES)
    np.testing.assert_array_equal(result.outputs["x"], np.ones(3))


def test_a_request_without_inputs_is_the_models_own_affair(cluster: Cluster) -> None:
    answer = cluster.routing().Infer(router_pb2.InferRequest(model="quick"), timeout=10)
    assert dict(answer.outputs) == {}
