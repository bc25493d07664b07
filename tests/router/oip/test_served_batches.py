"""Batches before scripted leaders: their examples are so many requests with one fate."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from alpaserve.oip.v2 import inference_pb2 as pb
from alpaserve.v1 import leader_pb2, router_pb2
from alpaserve_client.strings import pack_strings
from grpc import aio

from services.infra.errors import Gate
from services.router.dispatcher import Dispatcher
from services.router.holdings import Holdings
from services.router.metrics import Outcome
from services.router.oip.servicer import InferenceServicer
from tests.router.calls import Leaders, ends
from tests.router.oip.asking import LARGEST_BYTES, MAX_IN_FLIGHT, SERVICE, answer, refusal, traced
from tests.router.scripted_leader import Answer, ScriptedLeader, fail, keep_silent, serve
from tests.waiting import until

INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED


def batch(*rows: bytes, model: str = "m", **fields: Any) -> pb.ModelInferRequest:
    given = pb.ModelInferRequest.InferInputTensor(name="x", datatype="UINT8", shape=[len(rows), len(rows[0])])
    return pb.ModelInferRequest(model_name=model, inputs=[given], raw_input_contents=[b"".join(rows)], **fields)


def after(delay_s: float, leader: ScriptedLeader) -> Answer:
    """Answer so much later than asked."""

    def answer_later(submit: leader_pb2.Submit) -> None:
        asyncio.get_running_loop().call_later(delay_s, leader.send, serve(submit))

    return answer_later


def num_submitted(leaders: Leaders) -> int:
    return sum(len(leader.submitted) for leader in leaders)


async def test_each_example_is_a_request(channel: aio.Channel, dispatcher: Dispatcher, leaders: Leaders) -> None:
    found = await answer(channel, batch(b"ab", b"cd", b"ef", id="mine"))
    assert (found.id, list(found.outputs[0].shape), found.raw_output_contents[0]) == ("mine", [3, 2], b"abcdef")
    assert num_submitted(leaders) == 3
    assert ends(dispatcher.requests, "m") == {Outcome.SERVED: 3}
    assert dispatcher.requests.arrivals["m"] == 3


async def test_a_batch_took_what_its_slowest_example_took(channel: aio.Channel, leaders: Leaders) -> None:
    def took(submit: leader_pb2.Submit) -> leader_pb2.FromLeader:
        reply = serve(submit)
        served = router_pb2.InferResponse.FromString(reply.served.response)
        served.execution_time_s, served.batch_size = {b"ab": (1.0, 2), b"cd": (3.0, 4)}[served.outputs["x"].data]
        reply.served.response = served.SerializeToString()
        return reply

    for leader in leaders:
        leader.answer = took
    found = await answer(channel, batch(b"ab", b"cd"))
    asking: Any = channel.unary_unary(f"{SERVICE}/ModelStatistics", None, None)
    told = pb.ModelStatisticsResponse.FromString(await asking(pb.ModelStatisticsRequest(name="m").SerializeToString()))
    (stats,) = told.model_stats
    assert found.parameters["execution_time_s"].double_param == 3.0
    assert (stats.inference_count, stats.execution_count, stats.inference_stats.success.count) == (2, 1, 1)
    assert stats.inference_stats.compute_infer.ns == 3e9
    assert [(one.batch_size, one.compute_infer.count) for one in stats.batch_stats] == [(2, 1), (4, 1)]


async def test_it_ends_with_the_first_example_that_fails(
    channel: aio.Channel, dispatcher: Dispatcher, leaders: Leaders
) -> None:
    def partly(submit: leader_pb2.Submit) -> leader_pb2.FromLeader | None:
        return invalid(submit) if b"no" in submit.request else None

    invalid = fail(leader_pb2.FAILURE_REASON_INVALID_INPUT, message="x is no")
    for leader in leaders:
        leader.answer = partly
    assert await refusal(channel, "ModelInfer", batch(b"ab", b"cd", b"no")) == (
        INVALID,
        "example 2: model 'm': x is no",
    )
    await until(lambda: sum(len(leader.cancelled) for leader in leaders) == 2)
    assert ends(dispatcher.requests, "m") == {Outcome.INVALID: 3}


async def test_a_caller_who_hangs_up_cancels_every_example(
    channel: aio.Channel, dispatcher: Dispatcher, leaders: Leaders, holdings: Holdings
) -> None:
    for leader in leaders:
        leader.answer = keep_silent
    infer: Any = channel.unary_unary(f"{SERVICE}/ModelInfer", None, None)
    call = infer(batch(b"ab", b"cd", b"ef").SerializeToString(), timeout=10)
    await until(lambda: num_submitted(leaders) == 3)
    call.cancel()
    await until(lambda: sum(len(leader.cancelled) for leader in leaders) == 3)
    await until(lambda: ends(dispatcher.requests, "m") == {Outcome.CANCELLED: 3})
    assert holdings.join(MAX_IN_FLIGHT - 1) == MAX_IN_FLIGHT - 1


async def test_all_examples_are_held(
    channel: aio.Channel, dispatcher: Dispatcher, leaders: Leaders, holdings: Holdings
) -> None:
    for leader in leaders:
        leader.answer = keep_silent
    holdings.join(MAX_IN_FLIGHT - 3)
    infer: Any = channel.unary_unary(f"{SERVICE}/ModelInfer", None, None)
    under_way = infer(batch(b"ab", b"cd", b"ef").SerializeToString(), timeout=10)
    await until(lambda: num_submitted(leaders) == 3)
    one = await refusal(channel, "ModelInfer", batch(b"ab"))
    under_way.cancel()
    await until(lambda: ends(dispatcher.requests, "m") == {Outcome.CANCELLED: 3})
    two = await refusal(channel, "ModelInfer", batch(*[b"ab"] * 4))
    assert one == (EXHAUSTED, f"this router holds {MAX_IN_FLIGHT} requests already")
    assert two == (EXHAUSTED, f"this router holds {MAX_IN_FLIGHT - 2} requests already")
    assert ends(dispatcher.requests, "m") == {Outcome.CANCELLED: 3, Outcome.REJECTED: 4}


async def test_a_batch_that_is_never_held_is_refused_for_good(channel: aio.Channel) -> None:
    refused = await refusal(channel, "ModelInfer", batch(*[b"ab"] * (MAX_IN_FLIGHT + 1)))
    assert refused == (INVALID, f"a batch of {MAX_IN_FLIGHT + 1} examples, allowed are {MAX_IN_FLIGHT}")


async def test_examples_of_a_model_that_may_not_run_twice_are_asked_for_one_by_one(
    channel: aio.Channel, leaders: Leaders
) -> None:
    asking: Any = channel.unary_unary(f"{SERVICE}/ModelConfig", None, None)
    configs = [
        pb.ModelConfigResponse.FromString(await asking(pb.ModelConfigRequest(name=name).SerializeToString())).config
        for name in ("m", "once", "patient")
    ]
    refused = await refusal(channel, "ModelInfer", batch(b"ab", b"cd", model="once"))
    assert refused == (INVALID, "model 'once' is not idempotent: ask for examples one by one")
    assert num_submitted(leaders) == 0
    assert (await answer(channel, batch(b"ab", model="once"))).raw_output_contents[0] == b"ab"
    assert [config.max_batch_size for config in configs] == [MAX_IN_FLIGHT, 1, 0]


async def test_outputs_that_are_too_large_together_are_not_counted_as_served(
    channel: aio.Channel, dispatcher: Dispatcher
) -> None:
    refused = await refusal(channel, "ModelInfer", batch(*[bytes(LARGEST_BYTES // 2)] * 3))
    assert refused == (INVALID, f"the outputs of 3 examples take 15000 bytes, allowed are {LARGEST_BYTES}")
    assert ends(dispatcher.requests, "m") == {Outcome.INVALID: 3}


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (batch(*[b"ab"] * 3, id="n" * 257), "a request id of 257 bytes, allowed are 256"),
        (
            pb.ModelInferRequest(
                model_name="m",
                inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="BYTES", shape=[2, 1])],
                raw_input_contents=[pack_strings([b"a", b"b"])],
            ),
            "input 'x' is of strings, which this model does not take",
        ),
    ],
    ids=["id", "strings"],
)
async def test_what_no_model_would_take_is_not_copied(
    channel: aio.Channel, leaders: Leaders, request_: pb.ModelInferRequest, says: str
) -> None:
    assert await refusal(channel, "ModelInfer", request_) == (INVALID, says)
    assert num_submitted(leaders) == 0


async def test_a_stream_that_ends_at_the_deadline_of_its_batches_leaves_nothing(
    channel: aio.Channel, gate: Gate, leaders: Leaders
) -> None:
    async def four() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield batch(*[b"ab"] * 8).SerializeToString()
        await asyncio.sleep(60)

    for leader in leaders:
        leader.answer = keep_silent
    for _ in range(10):
        asking: Any = channel.stream_stream(f"{SERVICE}/ModelStreamInfer", None, None)
        with pytest.raises(aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            async for _ in asking(four(), timeout=0.15):
                pass
    assert await gate.close(10)


async def test_the_dispatch_of_each_example_ends_with_it(servicer: InferenceServicer, leaders: Leaders) -> None:
    for delay_s, leader in zip((0.1, 0.4), leaders, strict=True):
        leader.answer = after(delay_s, leader)
    trace, _ = await traced(servicer, [batch(b"ab", b"cd")])
    attempts = {span.parent_id: span.seconds for span in trace.named("attempt")}
    dispatches = {span.span_id: span.seconds for span in trace.named("dispatch")}
    assert sorted(attempts.values()) == pytest.approx([0.1, 0.4], abs=0.25)
    assert dispatches.keys() == attempts.keys()
    assert all(dispatches[span_id] - attempts[span_id] < 0.1 for span_id in attempts)
