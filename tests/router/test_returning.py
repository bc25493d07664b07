"""Requests for a model that a transition has left without a group for a while."""

import asyncio
from dataclasses import replace

from services.core.deployment import Deployment
from services.core.errors import NotPlaced, SloUnattainable
from services.router.dispatcher import Dispatcher
from tests.router.calls import Leaders, both_groups, call, failure
from tests.router.scripted_leader import deployment, group


def without_the_model(version: int, leaders: Leaders, **returning_s: float) -> Deployment:
    """A placement that lacks "m", which should be back in so many seconds."""
    first, second = leaders
    known = deployment(version, group("g1", first.address, "once"), group("g2", second.address, "once"))
    return replace(known, returning_s=returning_s)


async def test_a_request_waits_for_a_model_that_should_be_back_in_time(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    await dispatcher.groups.follow(without_the_model(2, leaders, m=1.0))
    waiting = asyncio.create_task(dispatcher.infer(call(slo_s=60.0)))
    await asyncio.sleep(0.05)
    was_done = waiting.done()
    await dispatcher.groups.follow(both_groups(3, leaders))
    reply = await waiting

    assert not was_done
    assert (reply.group, reply.placement_version) == ("g1", 3)


async def test_a_request_whose_model_comes_back_too_late_is_told_so_at_once(
    dispatcher: Dispatcher, leaders: Leaders
) -> None:
    await dispatcher.groups.follow(without_the_model(2, leaders, m=50.0))
    refused = await failure(dispatcher, call(slo_s=20.0))

    assert isinstance(refused, SloUnattainable)
    assert refused.allowed_s < 20.1 < 40.0 < refused.predicted_s < 51.0


async def test_a_model_that_does_not_come_back_is_placed_nowhere(dispatcher: Dispatcher, leaders: Leaders) -> None:
    await dispatcher.groups.follow(without_the_model(2, leaders, m=50.0))
    waiting = asyncio.create_task(failure(dispatcher, call(slo_s=60.0)))
    await asyncio.sleep(0.05)
    await dispatcher.groups.follow(without_the_model(3, leaders))

    assert isinstance(await waiting, NotPlaced)
