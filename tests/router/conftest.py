"""Two leaders over real channels, and a dispatcher that follows them."""

from collections.abc import AsyncIterator

import pytest

from services.router.dispatcher import Dispatcher
from tests.router.calls import Leaders, both_groups
from tests.router.scripted_leader import ScriptedLeader, dispatching


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
        await following.groups.follow(both_groups(1, leaders))
        yield following
