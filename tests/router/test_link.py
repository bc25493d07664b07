"""A link to a leader that refuses it."""

import asyncio
from time import monotonic

from structlog.testing import capture_logs

from services.router.link import RECONNECT_S, GroupLink
from tests.router.scripted_leader import ScriptedLeader, group
from tests.waiting import until


async def test_a_leader_that_refuses_is_asked_ever_more_rarely_and_each_reason_is_told_once() -> None:
    leader = ScriptedLeader(refusal="unknown token")
    await leader.start()
    link = GroupLink(group("g1", leader.address, "m"), "r1", 2**20, lambda: None)
    with capture_logs() as lines:
        running = asyncio.create_task(link.run())
        await until(lambda: len(leader.opened) == 1)
        first_s = monotonic()
        await until(lambda: len(leader.opened) == 2)
        leader.refusal = "group 'g1' is not led here"
        await until(lambda: len(leader.opened) == 3)
        waited_s = monotonic() - first_s
        leader.refusal = ""
        await link.opened(10)
    is_open = link.is_open
    running.cancel()
    await asyncio.wait([running])
    await leader.die()
    told = [(line["log_level"], line["why"]) for line in lines if line["event"] == "leader_refused"]
    assert is_open
    assert told == [("warning", "unknown token"), ("warning", "group 'g1' is not led here")]
    assert waited_s > 4 * RECONNECT_S
