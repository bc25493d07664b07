"""The life of a request in the router, against leaders over a real channel."""

import asyncio
from time import monotonic

import pytest
from alpaserve.v1 import leader_pb2

from services.core.errors import (
    AlpaServeError,
    DeadlinePassed,
    GroupUnavailable,
    InvalidInput,
    NotPlaced,
    SloUnattainable,
)
from services.router.call import Call
from services.router.dispatcher import Dispatcher
from services.router.groups import Groups
from services.router.margin import Margin
from tests.router.calls import DRAINING, INPUTS, NOT_LOADED, Leaders, both_groups, call, failure
from tests.router.scripted_leader import (
    Answer,
    fail,
    keep_silent,
    outputs,
    reject,
    serve,
)
from tests.waiting import until


async def test_a_request_is_answered_by_the_group_that_the_rule_names(dispatcher: Dispatcher, leaders: Leaders) -> None:
    reply = await dispatcher.infer(call())
    assert (reply.group, reply.placement_version) == ("g1", 1)
    assert outputs(reply.served) == INPUTS
    assert reply.predicted_finish_s >= 0.5
    assert [opened.group for opened in leaders[0].opened] == ["g1"]
    assert leaders[1].submitted == []


async def test_a_burst_is_spread_before_any_leader_reports(dispatcher: Dispatcher, leaders: Leaders) -> None:
    replies = await asyncio.gather(*(dispatcher.infer(call()) for _ in range(10)))
    assert [reply.group for reply in replies] == ["g1", "g2"] * 5


@pytest.mark.parametrize(
    ("asked", "least_s", "most_s"),
    [
        (call("m"), 4.0, 5.0),
        (call("m", slo_s=2.0), 1.0, 2.0),
        (call("m", slo_s=9.0), 8.0, 9.0),
        (call("m", slo_s=9.0, expires_in_s=3.0), 2.0, 3.0),
        (call("patient", expires_in_s=3.0), 2.0, 3.0),
    ],
)
async def test_the_leader_is_told_what_is_left_of_the_earlier_deadline(
    dispatcher: Dispatcher, leaders: Leaders, asked: Call, least_s: float, most_s: float
) -> None:
    now = call(asked.model, asked.slo_s, asked.expires_s - asked.arrival_s)
    await dispatcher.infer(now)
    assert least_s < leaders[0].submitted[0].remaining_s < most_s


async def test_a_request_without_an_slo_is_sent_without_a_deadline(dispatcher: Dispatcher, leaders: Leaders) -> None:
    await dispatcher.infer(call("patient"))
    assert not leaders[0].submitted[0].HasField("remaining_s")


async def test_a_rejection_is_final_while_the_rule_names_the_same_group(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    leaders[0].answer = reject("g1", -1e6)
    refused = await failure(dispatcher, call(slo_s=2.0))
    assert isinstance(refused, SloUnattainable)
    assert refused.allowed_s == pytest.approx(2.0)
    assert len(leaders[0].submitted) == 1
    assert leaders[1].submitted == []


async def test_a_rejection_goes_on_to_the_group_that_the_rule_names_with_the_leaders_clocks(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    leaders[0].answer = reject("g1", 30.0)
    reply = await dispatcher.infer(call())
    assert reply.group == "g2"
    assert len(leaders[0].submitted) == len(leaders[1].submitted) == 1


async def test_a_request_that_every_group_rejects_tries_each_once(dispatcher: Dispatcher, leaders: Leaders) -> None:
    leaders[0].answer = reject("g1", 30.0)
    leaders[1].answer = reject("g2", 40.0, queue_full=True)
    refused = await failure(dispatcher, call())
    assert isinstance(refused, SloUnattainable)
    assert "the queue is full" in str(refused)
    assert refused.predicted_s == pytest.approx(40.1, abs=0.5)
    assert refused.retry_after_s == pytest.approx(35.1, abs=0.5)
    assert len(leaders[0].submitted) == len(leaders[1].submitted) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (fail(leader_pb2.FAILURE_REASON_INVALID_INPUT), InvalidInput, "model 'm': why"),
        (fail(leader_pb2.FAILURE_REASON_DEADLINE_PASSED), DeadlinePassed, "why"),
    ],
)
async def test_a_failure_that_no_other_group_can_mend_is_told_at_once(
    dispatcher: Dispatcher, leaders: Leaders, answer: Answer, kind: type[AlpaServeError], says: str
) -> None:
    leaders[0].answer = answer
    failed = await failure(dispatcher, call())
    assert isinstance(failed, kind)
    assert says in str(failed)
    assert leaders[1].submitted == []


async def test_a_bug_in_the_leader_is_no_error_of_the_caller(dispatcher: Dispatcher, leaders: Leaders) -> None:
    leaders[0].answer = fail(leader_pb2.FAILURE_REASON_INTERNAL, started=True)
    with pytest.raises(RuntimeError, match="group g1"):
        await dispatcher.infer(call())


@pytest.mark.parametrize("reason", [DRAINING, NOT_LOADED])
@pytest.mark.parametrize("model", ["m", "once"])
async def test_a_group_that_is_leaving_hands_the_request_to_another(
    dispatcher: Dispatcher, leaders: Leaders, reason: leader_pb2.FailureReason.ValueType, model: str
) -> None:
    leaders[0].answer = fail(reason)
    reply = await dispatcher.infer(call(model))
    assert reply.group == "g2"


async def test_a_request_that_only_leaving_groups_could_take_waits_for_the_next_placement(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    leaders[0].answer = leaders[1].answer = fail(DRAINING)
    waiting = asyncio.create_task(dispatcher.infer(call()))
    await until(lambda: leaders[0].submitted and leaders[1].submitted)
    leaders[1].answer = serve
    await dispatcher.groups.follow(both_groups(2, leaders))
    reply = await waiting
    assert (reply.group, reply.placement_version) == ("g2", 2)


async def test_without_another_placement_a_leaving_group_is_unavailable(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    leaders[0].answer = leaders[1].answer = fail(DRAINING)
    failed = await failure(dispatcher, call())
    assert isinstance(failed, GroupUnavailable)


async def test_a_group_that_is_known_to_be_full_is_spared_the_request(dispatcher: Dispatcher, leaders: Leaders) -> None:
    for name in ("g1", "g2"):
        dispatcher.groups.report(leader_pb2.QueueState(group=name, free_in_s=[3.0], num_in_flight=1))
    refused = await failure(dispatcher, call(slo_s=2.0))
    served = await dispatcher.infer(call(slo_s=9.0))
    assert isinstance(refused, SloUnattainable)
    assert refused.predicted_s == pytest.approx(3.1, abs=0.5)
    assert refused.allowed_s == pytest.approx(2.0)
    assert served.group == "g1"
    assert [len(leader.submitted) for leader in leaders] == [1, 0]


async def test_a_margin_brings_the_deadline_of_requests_forward(dispatcher: Dispatcher, leaders: Leaders) -> None:
    for _ in range(10):
        dispatcher.margin("m").note_late(10.0, monotonic())
    await dispatcher.infer(call(slo_s=10.0))
    assert 7.5 < leaders[0].submitted[-1].remaining_s < 9.0


async def test_the_examples_of_a_late_batch_are_late_once(dispatcher: Dispatcher, leaders: Leaders) -> None:
    leaders[0].answer = leaders[1].answer = keep_silent
    waiting = asyncio.create_task(failure(dispatcher, *[call(slo_s=0.3)] * 20))
    while not waiting.done():
        for name in ("g1", "g2"):
            received = {"r1": max((submit.sequence for leader in leaders for submit in leader.submitted), default=0)}
            dispatcher.groups.report(leader_pb2.QueueState(group=name, free_in_s=[0.0], received=received))
        await asyncio.sleep(0.01)
    assert isinstance(waiting.result(), DeadlinePassed)
    once = Margin()
    once.note_late(0.3, 0.0)
    assert 0 < dispatcher.margin("m").of(0.3, monotonic()) <= once.of(0.3, 0.0)


async def test_all_examples_of_a_batch_arrive_also_at_a_model_that_is_placed_nowhere() -> None:
    asked = []

    async def is_registered(model: str) -> bool:
        asked.append(model)
        return True

    dispatcher = Dispatcher(Groups("r1", 2**20), is_registered)
    assert isinstance(await failure(dispatcher, *[call("registered")] * 3), NotPlaced)
    assert (asked, dispatcher.requests.arrivals["registered"]) == (["registered"], 3)
    await dispatcher.groups.close()


@pytest.mark.parametrize("is_heard", [True, False])
async def test_a_late_answer_counts_unless_the_leader_is_silent(
    dispatcher: Dispatcher, leaders: Leaders, is_heard: bool
) -> None:
    leaders[0].answer = leaders[1].answer = keep_silent
    waiting = asyncio.create_task(failure(dispatcher, call(slo_s=0.3)))
    while not waiting.done():
        if is_heard:
            for name in ("g1", "g2"):
                dispatcher.groups.report(leader_pb2.QueueState(group=name, free_in_s=[0.0]))
        await asyncio.sleep(0.01)
    assert isinstance(waiting.result(), DeadlinePassed)
    assert (dispatcher.margin("m").of(1.0, monotonic()) > 0) == is_heard
