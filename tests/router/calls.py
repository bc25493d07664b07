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


async def failure(dispatcher: Dispatcher, asked: Call) -> AlpaServeError:
    with pytest.raises(AlpaServeError) as failed:
        await dispatcher.infer(asked)
    return failed.value
