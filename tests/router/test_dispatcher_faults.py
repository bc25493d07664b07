"""Requests whose group, deadline or caller goes away, against leaders over a real channel."""

import asyncio

import pytest
from alpaserve.v1 import leader_pb2

from services.core.deployment import Deployment
from services.core.errors import (
    AlpaServeError,
    DeadlinePassed,
    NotPlaced,
    OutcomeUnknown,
    UnknownModel,
)
from services.router.call import Reply
from services.router.dispatcher import Dispatcher
from tests.router.calls import DRAINING, INPUTS, Leaders, call, failure
from tests.router.scripted_leader import Answer, deployment, fail, group, keep_silent, outputs, reject, serve, twice
from tests.waiting import until


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


@pytest.mark.parametrize("second", [fail(DRAINING), reject("g2", 9.0)])
async def test_a_request_that_may_have_run_stays_one_when_the_next_group_refuses_it(
    dispatcher: Dispatcher, leaders: Leaders, second: Answer
) -> None:
    leaders[0].answer, leaders[1].answer = keep_silent, second
    asked = asyncio.create_task(failure(dispatcher, call()))
    await until(lambda: leaders[0].submitted)
    await leaders[0].die()
    assert type(await asked) is OutcomeUnknown
    assert len(leaders[1].submitted) == 1


async def test_a_group_that_cannot_be_reached_is_left_out(dispatcher: Dispatcher, leaders: Leaders) -> None:
    await leaders[0].die()
    await until(lambda: dispatcher.groups.unreachable() == {"g1"})
    replies = [await dispatcher.infer(call()) for _ in range(3)]
    assert [reply.group for reply in replies] == ["g2"] * 3


async def test_a_group_that_comes_back_is_asked_again(dispatcher: Dispatcher, leaders: Leaders) -> None:
    await dispatcher.infer(call())
    await leaders[0].die()
    await until(lambda: dispatcher.groups.unreachable() == {"g1"})
    await leaders[0].start(int(leaders[0].address.rpartition(":")[2]))
    await until(lambda: not dispatcher.groups.unreachable())
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
    assert outputs(reply.served) == INPUTS


async def test_requests_under_way_end_where_they_are_when_the_placement_changes(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    held: list[leader_pb2.Submit] = []
    leaders[0].answer = held.append
    under_way = asyncio.create_task(dispatcher.infer(call()))
    await until(lambda: held)
    await dispatcher.groups.follow(deployment(2, group("g2", leaders[1].address, "m")))
    later: Reply = await dispatcher.infer(call())
    assert not under_way.done()
    assert later.group == "g2"
    leaders[0].send(serve(held[0]))
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
    assert dispatcher.requests.arrivals == {"m": 2, "patient": 1}


async def test_a_store_that_came_back_empty_takes_no_placement_away(dispatcher: Dispatcher) -> None:
    await dispatcher.groups.follow(Deployment())
    assert (await dispatcher.infer(call())).group == "g1"
