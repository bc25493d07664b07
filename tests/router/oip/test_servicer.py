"""The door for clients of the Open Inference Protocol, over a real channel, before scripted leaders."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from alpaserve.oip.v2 import inference_pb2 as pb
from alpaserve.v1 import leader_pb2
from google.protobuf.message import Message
from grpc import aio

from services.core.signature import Signature, TensorSpec
from services.infra.calls import Calls
from services.infra.errors import Gate, Guarded
from services.infra.security.settings import SecuritySettings
from services.infra.spans import Tracing
from services.infra.store.connection import connect
from services.infra.tracing import Traced
from services.router.dispatcher import Dispatcher
from services.router.door import Door
from services.router.holdings import Holdings
from services.router.metrics import Outcome
from services.router.oip.contract import add_inference
from services.router.oip.repository import Repository
from services.router.oip.servicer import InferenceServicer
from services.router.oip.statistics import Statistics
from tests.channels import channel_to
from tests.collector import collecting
from tests.router.calls import Leaders
from tests.router.scripted_leader import fail
from tests.waiting import until

SERVICE = "/inference.GRPCInferenceService"
LARGEST_BYTES = 10_000


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def servicer(dispatcher: Dispatcher, gate: Gate, redis_url: str) -> AsyncIterator[InferenceServicer]:
    redis = connect(redis_url)
    repository = Repository(redis, dispatcher.groups, SecuritySettings())
    repository.signatures = {"m": Signature((TensorSpec("x", "UINT8", (2,)),), (TensorSpec("x", "UINT8", (2,)),))}
    door = Door(dispatcher, Holdings(1_000, 2**20), 1.0, LARGEST_BYTES)
    yield InferenceServicer(door, repository, Statistics(), gate)
    await repository.close()
    await redis.aclose()


@pytest.fixture
async def channel(servicer: InferenceServicer, gate: Gate) -> AsyncIterator[aio.Channel]:
    async with channel_to(Guarded(servicer, gate, Calls(), ""), add_inference) as opened:
        yield opened


class Streaming:
    """What is asked of the context of a stream that goes on with a trace."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("traceparent", f"00-{'c' * 32}-{'d' * 16}-01"),)

    def time_remaining(self) -> None:
        return None


def asked(name: str = "mine", model: str = "patient", **fields: Any) -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(uint_contents=[1, 2])
    given = pb.ModelInferRequest.InferInputTensor(name="x", datatype="UINT8", shape=[2], contents=contents)
    return pb.ModelInferRequest(model_name=model, id=name, inputs=[given], **fields)


def ends(dispatcher: Dispatcher, model: str) -> dict[str, float]:
    """How many requests ended so."""
    (family,) = [family for family in dispatcher.requests.collect() if family.name == "alpaserve_requests"]
    return {one.labels["outcome"]: one.value for one in family.samples if one.labels["model"] == model and one.value}


async def refusal(channel: aio.Channel, method: str, request: Message) -> tuple[grpc.StatusCode, str]:
    call: Any = channel.unary_unary(f"{SERVICE}/{method}", None, None)
    with pytest.raises(aio.AioRpcError) as refused:
        await call(request.SerializeToString(), timeout=10)
    return refused.value.code(), str(refused.value.details())


async def test_an_answer_that_cannot_be_made_is_not_counted_as_served(
    channel: aio.Channel, dispatcher: Dispatcher
) -> None:
    dispatcher.requests.arrivals["patient"] += 1
    request = asked(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="z")])
    code, says = await refusal(channel, "ModelInfer", request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "no output 'z'; there are: x" in says
    assert ends(dispatcher, "patient") == {Outcome.INVALID: 1}


def batch(*rows: bytes) -> pb.ModelInferRequest:
    given = pb.ModelInferRequest.InferInputTensor(name="x", datatype="UINT8", shape=[len(rows), 2])
    return pb.ModelInferRequest(model_name="m", id="batch", inputs=[given], raw_input_contents=[b"".join(rows)])


async def test_each_example_of_a_batch_is_a_request(
    channel: aio.Channel, dispatcher: Dispatcher, leaders: Leaders
) -> None:
    infer: Any = channel.unary_unary(f"{SERVICE}/ModelInfer", None, None)
    answer = pb.ModelInferResponse.FromString(await infer(batch(b"ab", b"cd", b"ef").SerializeToString(), timeout=10))
    assert (answer.id, answer.raw_output_contents[0]) == ("batch", b"abcdef")
    assert list(answer.outputs[0].shape) == [3, 2]
    assert sum(len(leader.submitted) for leader in leaders) == 3
    assert ends(dispatcher, "m") == {Outcome.SERVED: 3}


async def test_a_batch_ends_with_the_first_example_that_fails(
    channel: aio.Channel, dispatcher: Dispatcher, leaders: Leaders
) -> None:
    def answer(submit: leader_pb2.Submit) -> leader_pb2.FromLeader | None:
        return invalid(submit) if b"no" in submit.request else None

    invalid = fail(leader_pb2.FAILURE_REASON_INVALID_INPUT, message="x is no")
    for leader in leaders:
        leader.answer = answer
    code, says = await refusal(channel, "ModelInfer", batch(b"ab", b"cd", b"no"))
    assert (code, says) == (grpc.StatusCode.INVALID_ARGUMENT, "example 2: model 'm': x is no")
    await until(lambda: sum(len(leader.cancelled) for leader in leaders) == 2)
    assert ends(dispatcher, "m") == {Outcome.INVALID: 3}


async def test_an_id_that_is_too_long_is_refused(channel: aio.Channel) -> None:
    code, says = await refusal(channel, "ModelInfer", asked("n" * 257))
    assert (code, says) == (grpc.StatusCode.INVALID_ARGUMENT, "a request id of 257 bytes, allowed are 256")


async def test_a_stream_ends_as_unavailable_once_the_router_goes_away(channel: aio.Channel, gate: Gate) -> None:
    streaming: Any = channel.stream_stream(f"{SERVICE}/ModelStreamInfer", None, None)
    stream = streaming(timeout=10)
    await stream.write(asked("before").SerializeToString())
    answer = pb.ModelStreamInferResponse.FromString(await stream.read())
    assert await gate.close(10)
    await stream.write(asked("after").SerializeToString())
    assert answer.infer_response.id == "before"
    with pytest.raises(aio.AioRpcError):
        await stream.read()
    assert (await stream.code(), await stream.details()) == (grpc.StatusCode.UNAVAILABLE, "this process is going away")


async def test_each_request_of_a_stream_has_a_span_of_its_own(servicer: InferenceServicer) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield asked("good").SerializeToString()
        yield asked("bad", model="stranger").SerializeToString()

    with collecting() as collector:
        tracing = Tracing(collector.endpoint, 1.0, "router")
        traced: Any = Traced(servicer, tracing)
        answers = [answer async for answer in traced.ModelStreamInfer(requests(), Streaming())]
        await asyncio.to_thread(tracing.close)
    trace = collector.trace("c" * 32)
    spans = {span.of("request_id"): span for span in trace.named("ModelInfer")}
    assert len(answers) == 2
    assert {name: (span.of("outcome"), span.has_failed) for name, span in spans.items()} == {
        "good": ("served", False),
        "bad": ("invalid", True),
    }
    assert {span.parent_id for span in spans.values()} == {trace.one("ModelStreamInfer").span_id}


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
async def test_nothing_is_loaded_or_unloaded_without_a_name(channel: aio.Channel, method: str) -> None:
    code, says = await refusal(channel, method, pb.RepositoryModelLoadRequest())
    assert (code, says) == (grpc.StatusCode.INVALID_ARGUMENT, "model_name is empty")
