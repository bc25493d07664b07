"""The door for clients of the Open Inference Protocol, over a real channel, before scripted leaders."""

from typing import Any

import grpc
import pytest
from alpaserve.oip.v2 import inference_pb2 as pb
from grpc import aio

from services.infra.errors import Gate
from services.router.dispatcher import Dispatcher
from services.router.metrics import Outcome
from services.router.oip.servicer import InferenceServicer
from tests.router.calls import ends
from tests.router.oip.asking import SERVICE, refusal, traced


def asked(name: str = "mine", model: str = "patient", **fields: Any) -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(uint_contents=[1, 2])
    given = pb.ModelInferRequest.InferInputTensor(name="x", datatype="UINT8", shape=[2], contents=contents)
    return pb.ModelInferRequest(model_name=model, id=name, inputs=[given], **fields)


async def test_an_answer_that_cannot_be_made_is_not_counted_as_served(
    channel: aio.Channel, dispatcher: Dispatcher
) -> None:
    dispatcher.requests.arrivals["patient"] += 1
    request = asked(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="z")])
    code, says = await refusal(channel, "ModelInfer", request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "no output 'z'; there are: x" in says
    assert ends(dispatcher.requests, "patient") == {Outcome.INVALID: 1}


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
    trace, answers = await traced(servicer, [asked("good"), asked("bad", model="stranger")])
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
