"""Requests to two scripted groups, as a router's dispatcher takes them."""

import math
from collections.abc import Mapping
from time import monotonic

import pytest
from alpaserve.v1 import leader_pb2, router_pb2, tensor_pb2

from services.core.deployment import Deployment
from services.core.errors import AlpaServeError
from services.router.call import Call
from services.router.dispatcher import Dispatcher
from services.router.metrics import Requests
from tests.router.scripted_leader import ScriptedLeader, deployment, group

INPUTS = {"x": tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_UINT8, shape=[2], data=b"ab")}
DRAINING = leader_pb2.FAILURE_REASON_DRAINING
NOT_LOADED = leader_pb2.FAILURE_REASON_NOT_LOADED
Leaders = tuple[ScriptedLeader, ScriptedLeader]


def content(model: str, inputs: Mapping[str, tensor_pb2.Tensor] = INPUTS) -> bytes:
    return router_pb2.InferRequest(model=model, inputs=inputs).SerializeToString()


def call(model: str = "m", slo_s: float | None = None, expires_in_s: float = math.inf) -> Call:
    now_s = monotonic()
    return Call("request", model, content(model), slo_s, now_s, now_s + expires_in_s)


def both_groups(version: int, leaders: Leaders) -> Deployment:
    models = ("m", "once", "patient")
    first, second = leaders
    return deployment(version, group("g1", first.address, *models), group("g2", second.address, *models))


def ends(requests: Requests, model: str) -> dict[str, float]:
    """How many requests ended so, as Prometheus is told."""
    (family,) = [family for family in requests.collect() if family.name == "alpaserve_requests"]
    return {one.labels["outcome"]: one.value for one in family.samples if one.labels["model"] == model and one.value}


async def failure(dispatcher: Dispatcher, asked: Call, *others: Call) -> AlpaServeError:
    """Of a request, or of a batch."""
    with pytest.raises(AlpaServeError) as failed:
        await (dispatcher.infer_batch([asked, *others]) if others else dispatcher.infer(asked))
    return failed.value
