"""A router's way to the planner, and what it knows of models, over a real Redis."""

import pytest
from redis.asyncio import Redis

from services.core.errors import PlannerUnavailable, UnknownModel
from services.core.signature import Signature, TensorSpec
from services.infra.security.settings import SecuritySettings
from services.infra.store import keys
from services.infra.store.members import MemberStore
from services.infra.store.signatures import SignatureStore
from services.router.groups import Groups
from services.router.oip.repository import Repository

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3), is_optional=True),), (TensorSpec("y", "BF16", ()),))


@pytest.fixture
def repository(redis: Redis) -> Repository:
    return Repository(redis, Groups("r0", 2**20), SecuritySettings(), 1_000)


async def test_without_a_planner_nothing_is_loaded(repository: Repository, redis: Redis) -> None:
    members = MemberStore(redis)
    await members.announce_planner("127.0.0.1:1")
    await members.withdraw_planner()
    with pytest.raises(PlannerUnavailable):
        await repository.load("m", 1.0, ())


async def test_signatures_are_as_leaders_told_them(repository: Repository, redis: Redis) -> None:
    await SignatureStore(redis).put("m", SIGNATURE)
    await repository.refresh()
    assert repository.signatures == {"m": SIGNATURE}


async def test_signatures_of_another_version_are_left_out(repository: Repository, redis: Redis) -> None:
    await SignatureStore(redis).put("m", SIGNATURE)
    await redis.hset(keys.SIGNATURES, "newer", '{"tensors": []}')
    await repository.refresh()
    assert repository.signatures == {"m": SIGNATURE}


async def test_what_nobody_registered_is_unknown(repository: Repository) -> None:
    with pytest.raises(UnknownModel, match="'stranger'"):
        await repository.check("stranger")


def test_a_router_without_groups_is_ready_to_be_given_some(repository: Repository) -> None:
    assert repository.is_ready()
    assert repository.unready("m") == "placed nowhere"
