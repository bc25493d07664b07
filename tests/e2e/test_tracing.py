"""Traces of a whole running system, as a collector receives them from its processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import grpc
import pytest
from alpaserve.v1 import router_pb2, router_pb2_grpc
from alpaserve_client import SloUnattainable

from tests.collector import Collector, Trace, collecting
from tests.e2e.cluster import Cluster, group, model, running_cluster

STAGE_S = 0.25
HOPS = ("receive", "admission", "queue", "stage 0", "queue", "stage 1", "reply")
SPANS = (*HOPS, "Infer", "dispatch", "attempt", "serve")


def profiles() -> dict[str, Any]:
    """A model of two stages long enough to be told from the hops around them."""
    entry = {
        "inter_op": 2,
        "intra_op": 1,
        "batch_size": 1,
        "stage_latency_s": [STAGE_S] * 2,
        "stage_weight_bytes": [1000] * 2,
    }
    models = [{"model": "paced", "reference_latency_s": 2 * STAGE_S, "profiles": [entry]}]
    return {"schema": "alpaserve.profiles/v1", "models": models}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALPASERVE_OTLP_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture(scope="module")
def cluster(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("traced")
    with running_cluster(directory, 1, profiles(), executor="emulated", num_devices=4) as running:
        running.register(model("paced", "paced"))
        running.apply(group(2, 1, [1, 2], "paced"))
        yield running


@pytest.fixture(scope="module")
def asked(cluster: Cluster, collector: Collector) -> tuple[Trace, float]:
    """The trace of a request by a program that traces, and the latency that it measured."""
    command = [sys.executable, "-m", "tests.e2e.traced_client", cluster.routers[0].address, "paced", collector.endpoint]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return asyncio.run(collector.whole(found["trace_id"], *SPANS, "page")), found["latency_s"]


def test_the_hops_of_a_request_add_up_to_its_latency(asked: tuple[Trace, float]) -> None:
    trace, latency_s = asked

    leaves = trace.leaves()
    assert [leaf.name for leaf in leaves] == list(HOPS)
    assert all(earlier.end_ns <= later.begin_ns for earlier, later in pairwise(leaves))
    to_router_s = trace.one("Infer", "user").seconds - trace.one("Infer", "alpaserve-router").seconds
    to_group_s = trace.one("attempt").seconds - trace.one("serve").seconds
    assert to_router_s > 0
    assert to_group_s > 0
    # What the leader's own hops leave out must not be what the network is said to take.
    assert to_router_s + to_group_s < 0.2 * latency_s
    hops_s = to_router_s + to_group_s + sum(leaf.seconds for leaf in leaves)
    assert hops_s == pytest.approx(latency_s, rel=0.05)


def test_every_process_adds_its_spans_below_those_of_its_caller(asked: tuple[Trace, float]) -> None:
    trace, latency_s = asked

    parents = [
        ("page", "user", "Infer", "user"),
        ("Infer", "user", "Infer", "alpaserve-router"),
        ("Infer", "alpaserve-router", "dispatch", "alpaserve-router"),
        ("dispatch", "alpaserve-router", "attempt", "alpaserve-router"),
        ("attempt", "alpaserve-router", "serve", "alpaserve-leader"),
        ("serve", "alpaserve-leader", "stage 1", "alpaserve-leader"),
    ]
    below = [(trace.one(above, by), trace.one(name, service)) for above, by, name, service in parents]
    assert all(span.parent_id == parent.span_id for parent, span in below)
    assert all(span.seconds <= parent.seconds for parent, span in below)
    assert trace.one("Infer", "user").seconds == pytest.approx(latency_s, rel=0.05)


def test_a_span_of_a_stage_tells_what_ran_where_and_as_predicted_or_not(asked: tuple[Trace, float]) -> None:
    trace, _ = asked

    stage = trace.one("stage 1")
    assert stage.of("model") == "paced"
    assert stage.of("stage") == 1
    assert stage.of("batch_size") == 1
    assert stage.of("local_devices") == [2]
    assert stage.of("profiled_s") == STAGE_S
    assert stage.of("actual_s") == pytest.approx(stage.seconds)
    assert trace.one("attempt").of("outcome") == "served"
    assert trace.one("attempt").of("group") == trace.one("serve").of("group")


@pytest.fixture(scope="module")
def shown(cluster: Cluster) -> Any:
    """What the command line shows of a request."""
    command = [sys.executable, "-m", "alpaserve_cli", "infer", "paced", "--router", cluster.routers[0].address]
    ran = subprocess.run([*command, "--trace", "--output", "json"], capture_output=True, check=True, text=True)
    return json.loads(ran.stdout)


async def test_the_command_line_shows_every_hop_and_where_to_find_the_trace(shown: Any, collector: Collector) -> None:
    trace = await collector.whole(shown["trace_id"], "infer", *SPANS)
    hops = {hop["hop"]: hop["seconds"] for hop in shown["hops"]}
    assert list(hops)[2:] == ["queue", "stage 0", "queue, stage 1", "stage 1", "answer"]
    assert all(seconds >= 0 for seconds in hops.values())
    assert sum(hops.values()) == pytest.approx(shown["latency_s"])
    assert hops["stage 1"] == pytest.approx(trace.one("stage 1").seconds, rel=0.01)
    assert trace.one("infer").service == "alpaserve-cli"


async def test_a_transition_is_one_trace_through_planner_and_worker(cluster: Cluster, collector: Collector) -> None:
    applied = cluster.apply(group(2, 1, [1, 2], "paced"), group(2, 1, [0, 3], "paced")).applied.placement

    trace_id = await collector.latest("LoadModel", group=applied.groups[1].name)
    trace = await collector.whole(trace_id, "ApplyPlan", "FormGroup", "LoadModel", "transition")
    steps = {span.span_id: span.name for span in trace.spans if span.service == "alpaserve-planner"}
    below = {span.name: steps[span.parent_id] for span in trace.spans if span.service == "alpaserve-worker"}
    assert below["FormGroup"] == "form"
    assert below["LoadModel"] == "load"
    assert trace.one("transition").parent_id == trace.one("ApplyPlan").span_id


async def test_a_rejection_tells_who_was_asked_and_what_was_predicted(cluster: Cluster, collector: Collector) -> None:
    async with cluster.client() as client:
        with pytest.raises(SloUnattainable) as refusal:
            await client.infer("paced", {}, slo_s=STAGE_S, request_id="hasty")

    trace = await collector.whole(await collector.latest("serve", request_id="hasty"), "admission", "Infer")
    assert trace.one("Infer").has_failed
    assert trace.one("Infer").of("outcome") == trace.one("attempt").of("outcome") == "rejected"
    assert trace.one("admission").of("predicted_s") == pytest.approx(refusal.value.predicted_s, rel=0.1)


async def test_a_trace_that_the_caller_does_not_record_is_not_recorded(cluster: Cluster, collector: Collector) -> None:
    unrecorded = f"00-{'a' * 32}-{'b' * 16}-00"
    recorded = f"00-{'c' * 32}-{'d' * 16}-01"
    with grpc.insecure_channel(cluster.routers[0].address) as channel:
        for traceparent in (unrecorded, recorded):
            request = router_pb2.InferRequest(model="paced")
            router_pb2_grpc.RouterStub(channel).Infer(request, metadata=(("traceparent", traceparent),), timeout=20)

    await collector.whole("c" * 32, *SPANS)
    assert collector.trace("a" * 32).spans == []
