"""The life of a request in the router, against leaders over a real channel."""

import asyncio
import math
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from alpaserve.v1 import leader_pb2, tensor_pb2

from services.core.deployment import Deployment
from services.core.errors import (
    AlpaServeError,
    DeadlinePassed,
    GroupUnavailable,
    InvalidInput,
    NotPlaced,
    OutcomeUnknown,
    SloUnattainable,
    UnknownModel,
)
from services.router.dispatcher import Call, Dispatcher, Reply
from tests.router.scripted_leader import (
    Answer,
    ScriptedLeader,
    deployment,
    dispatching,
    fail,
    group,
    keep_silent,
    reject,
    serve,
    twice,
)
from tests.waiting import until

INPUTS = {"x": tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_UINT8, shape=[2], data=b"ab")}
DRAINING = leader_pb2.FAILURE_REASON_DRAINING
NOT_LOADED = leader_pb2.FAILURE_REASON_NOT_LOADED
Leaders = tuple[ScriptedLeader, ScriptedLeader]


def call(model: str = "m", slo_s: float | None = None, expires_in_s: float = math.inf) -> Call:
    now_s = monotonic()
    return Call("request", model, INPUTS, slo_s, now_s, now_s + expires_in_s)


@pytest.fixture
async def leaders() -> AsyncIterator[Leaders]:
    both = (ScriptedLeader(), ScriptedLeader())
    for leader in both:
        await leader.start()
    yield both
    for leader in both:
        await leader.die()


@pytest.fixture
async def dispatcher(leaders: Leaders) -> AsyncIterator[Dispatcher]:
    """Two groups hold every model; ties go to g1."""
    async with dispatching() as following:
        await following.follow(both_groups(1, leaders))
        yield following


def both_groups(version: int, leaders: Leaders) -> Deployment:
    models = ("m", "once", "patient")
    first, second = leaders
    return deployment(version, group("g1", first.address, *models), group("g2", second.address, *models))


async def failure(dispatcher: Dispatcher, asked: Call) -> AlpaServeError:
    with pytest.raises(AlpaServeError) as failed:
        await dispatcher.infer(asked)
    return failed.value


async def test_a_request_is_answered_by_the_group_that_the_rule_names(dispatcher: Dispatcher, leaders: Leaders) -> None:
    reply = await dispatcher.infer(call())
    assert (reply.group, reply.placement_version) == ("g1", 1)
    assert reply.served.outputs["x"] == INPUTS["x"]
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
    await dispatcher.follow(both_groups(2, leaders))
    reply = await waiting
    assert (reply.group, reply.placement_version) == ("g2", 2)


async def test_without_another_placement_a_leaving_group_is_unavailable(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    leaders[0].answer = leaders[1].answer = fail(DRAINING)
    failed = await failure(dispatcher, call())
    assert isinstance(failed, GroupUnavailable)


async def test_a_started_request_of_a_group_that_died_runs_on_another_replica(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    leaders[0].answer = keep_silent
    asked = asyncio.create_task(dispatcher.infer(call()))
    await until(lambda: leaders[0].submitted)
    await leaders[0].die()
    reply = await asked
    assert reply.group == "g2"
    assert len(leaders[1].submitted) == 1


async def test_a_started_request_that_may_not_be_repeated_ends_as_unknown(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    leaders[0].answer = keep_silent
    asked = asyncio.create_task(failure(dispatcher, call("once")))
    await until(lambda: leaders[0].submitted)
    await leaders[0].die()
    failed = await asked
    assert isinstance(failed, OutcomeUnknown)
    assert not failed.idempotent
    assert leaders[1].submitted == []


async def test_a_started_request_that_no_group_is_left_for_ends_as_unknown(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    for leader in leaders:
        leader.answer = keep_silent
    asked = [asyncio.create_task(failure(dispatcher, call())) for _ in range(2)]
    await until(lambda: leaders[0].submitted and leaders[1].submitted)
    await asyncio.gather(*(leader.die() for leader in leaders))
    failed = await asyncio.gather(*asked)
    assert [type(error) for error in failed] == [OutcomeUnknown, OutcomeUnknown]
    assert all(error.idempotent for error in failed if isinstance(error, OutcomeUnknown))


async def test_a_group_that_cannot_be_reached_is_left_out(dispatcher: Dispatcher, leaders: Leaders) -> None:
    await leaders[0].die()
    await until(lambda: dispatcher.unreachable() == {"g1"})
    replies = [await dispatcher.infer(call()) for _ in range(3)]
    assert [reply.group for reply in replies] == ["g2"] * 3


async def test_a_group_that_comes_back_is_asked_again(dispatcher: Dispatcher, leaders: Leaders) -> None:
    await dispatcher.infer(call())
    await leaders[0].die()
    await until(lambda: dispatcher.unreachable() == {"g1"})
    await leaders[0].start(int(leaders[0].address.rpartition(":")[2]))
    await until(lambda: not dispatcher.unreachable())
    replies = await asyncio.gather(*(dispatcher.infer(call()) for _ in range(2)))
    assert {reply.group for reply in replies} == {"g1", "g2"}


async def test_a_deadline_ends_the_wait_and_takes_the_request_back(dispatcher: Dispatcher, leaders: Leaders) -> None:
    leaders[0].answer = keep_silent
    failed = await failure(dispatcher, call(slo_s=0.05))
    await until(lambda: leaders[0].cancelled)
    assert isinstance(failed, DeadlinePassed)
    assert leaders[0].cancelled == [leaders[0].submitted[0].sequence]


async def test_a_caller_that_goes_away_takes_its_request_back(dispatcher: Dispatcher, leaders: Leaders) -> None:
    leaders[0].answer = keep_silent
    asked = asyncio.create_task(dispatcher.infer(call()))
    await until(lambda: leaders[0].submitted)
    asked.cancel()
    await until(lambda: leaders[0].cancelled)
    assert leaders[0].cancelled == [leaders[0].submitted[0].sequence]


async def test_a_request_whose_deadline_has_passed_already_is_not_sent(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    failed = await failure(dispatcher, call(expires_in_s=-1.0))
    assert isinstance(failed, DeadlinePassed)
    assert [submit for submit in leaders[0].submitted if submit.remaining_s > 0] == []


async def test_an_answer_to_nobody_is_dropped(dispatcher: Dispatcher, leaders: Leaders) -> None:
    leaders[0].answer = twice
    failed = await failure(dispatcher, call(slo_s=0.05))
    leaders[0].answer = serve
    reply = await dispatcher.infer(call("patient"))
    assert isinstance(failed, DeadlinePassed)
    assert reply.served.outputs["x"] == INPUTS["x"]


async def test_requests_under_way_end_where_they_are_when_the_placement_changes(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    held: list[leader_pb2.Submit] = []
    leaders[0].answer = held.append
    under_way = asyncio.create_task(dispatcher.infer(call()))
    await until(lambda: held)
    await dispatcher.follow(deployment(2, group("g2", leaders[1].address, "m")))
    later: Reply = await dispatcher.infer(call())
    assert not under_way.done()
    assert later.group == "g2"
    await leaders[0].send(serve(held[0]))
    assert (await under_way).group == "g1"


@pytest.mark.parametrize(
    ("model", "kind"), [("stranger", UnknownModel), ("unplaced", NotPlaced), ("registered", NotPlaced)]
)
async def test_a_model_without_a_group_says_why(dispatcher: Dispatcher, model: str, kind: type[AlpaServeError]) -> None:
    failed = await failure(dispatcher, call(model))
    assert type(failed) is kind
    assert repr(model) in str(failed)


async def test_arrivals_are_counted_by_model(dispatcher: Dispatcher) -> None:
    for model in ("m", "m", "patient"):
        await dispatcher.infer(call(model))
    await failure(dispatcher, call("stranger"))
    assert dispatcher.arrivals == {"m": 2, "patient": 1}
