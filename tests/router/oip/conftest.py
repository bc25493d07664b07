"""The door for clients of the Open Inference Protocol, over a real channel, before scripted leaders."""

from collections.abc import AsyncIterator

import pytest
from grpc import aio

from services.core.signature import Signature, TensorSpec
from services.infra.calls import Calls
from services.infra.errors import Gate, Guarded
from services.infra.security.settings import SecuritySettings
from services.infra.store.connection import connect
from services.router.dispatcher import Dispatcher
from services.router.door import Door
from services.router.holdings import Holdings
from services.router.oip.contract import add_inference
from services.router.oip.repository import Repository
from services.router.oip.servicer import InferenceServicer
from services.router.oip.statistics import Statistics
from tests.channels import channel_to
from tests.router.oip.asking import LARGEST_BYTES, MAX_IN_FLIGHT

X = TensorSpec("x", "UINT8", (-1,))


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def holdings() -> Holdings:
    return Holdings(MAX_IN_FLIGHT, 2**20)


@pytest.fixture
async def servicer(
    dispatcher: Dispatcher, gate: Gate, holdings: Holdings, redis_url: str
) -> AsyncIterator[InferenceServicer]:
    """Of the models, what `m` and `once` take is known."""
    redis = connect(redis_url)
    repository = Repository(redis, dispatcher.groups, SecuritySettings(), MAX_IN_FLIGHT)
    repository.signatures = dict.fromkeys(("m", "once"), Signature((X,), (X,)))
    yield InferenceServicer(Door(dispatcher, holdings, 1.0, LARGEST_BYTES), repository, Statistics(), gate)
    await repository.close()
    await redis.aclose()


@pytest.fixture
async def channel(servicer: InferenceServicer, gate: Gate) -> AsyncIterator[aio.Channel]:
    async with channel_to(Guarded(servicer, gate, Calls(), ""), add_inference) as opened:
        yield opened
