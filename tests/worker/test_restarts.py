"""Processes that end unasked: started again in place, their groups on the books meanwhile, and given up at last."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from services.core.errors import GroupUnavailable
from services.core.model import RegisteredModel
from services.core.profile import ParallelConfig
from services.infra.background import background
from services.worker.groups import HostedGroups
from services.worker.leader.executor import Replica
from services.worker.restarts import PAUSES_S, STEADY_S, Restarts
from services.worker.settings import WorkerSettings
from tests.waiting import until
from tests.worker.mortal_leader import MortalLeader

PAIR, LONE = ParallelConfig(2, 1), ParallelConfig(1, 1)


def replica(name: str, num_stages: int, num_bytes: int = 100) -> Replica:
    return Replica(RegisteredModel(name, "p"), (0.1,) * num_stages, (num_bytes,) * num_stages)


@dataclass
class Host:
    """The groups of a host, and the leaders of its processes in the order of their first start."""

    executor: str
    leaders: list[MortalLeader] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = WorkerSettings(redis_url="redis://nowhere", executor=self.executor, num_devices=4, memory_bytes=1000)
        self.groups = HostedGroups(settings, self._leader, lambda: Restarts((0.0, 0.01, 0.01)))

    def _leader(self, settings: WorkerSettings, local_devices: object) -> MortalLeader:
        self.leaders.append(MortalLeader(settings, ()))
        return self.leaders[-1]

    def running(self) -> dict[str, list[str]]:
        return {group.name: sorted(group.replicas) for group in self.groups.all()}

    async def place(self) -> None:
        await self.groups.form("pair", PAIR, (0, 1))
        await self.groups.form("lone", LONE, (2,))
        await self.groups.load("pair", replica("a", 2))
        await self.groups.load("pair", replica("b", 2))
        await self.groups.load("lone", replica("a", 1))

    async def restarting(self, leader: MortalLeader) -> None:
        """Let a process die; it is being started again until its gate opens."""
        leader.gate.clear()
        leader.die()
        await until(leader.turn.locked)


@pytest.fixture
async def shared() -> AsyncIterator[Host]:
    """One process leads both groups."""
    host = Host("emulated")
    async with background(host.groups.watch()):
        await host.place()
        yield host


@pytest.fixture
async def apart() -> AsyncIterator[Host]:
    """A process leads each group."""
    host = Host("jax")
    async with background(host.groups.watch()):
        await host.place()
        yield host


async def test_a_process_that_dies_is_started_again_with_all_its_groups_and_replicas(shared: Host) -> None:
    (leader,) = shared.leaders
    addresses = [group.address for group in shared.groups.all()]
    leader.die()
    await until(lambda: len(leader.started) == 2)
    assert leader.started[1] == {"pair": ["a", "b"], "lone": ["a"]}
    assert [group.address for group in shared.groups.all()] == addresses


async def test_only_the_group_of_the_dead_process_is_restarted(apart: Host) -> None:
    apart.leaders[1].die()
    await until(lambda: len(apart.leaders[1].started) == 2)
    assert [len(leader.started) for leader in apart.leaders] == [1, 2]
    assert apart.leaders[1].started[1] == {"lone": ["a"]}


async def test_groups_stay_on_the_books_with_their_memory_while_they_are_restarted(shared: Host) -> None:
    before = shared.running(), shared.groups.used_bytes()
    await shared.restarting(shared.leaders[0])
    during = shared.running(), shared.groups.used_bytes()
    again = await shared.groups.form("pair", PAIR, (0, 1))
    assert during == before == ({"pair": ["a", "b"], "lone": ["a"]}, [200, 200, 100, 0])
    assert again == shared.leaders[0].address


async def test_steps_wait_until_the_restart_is_over(shared: Host) -> None:
    (leader,) = shared.leaders
    await shared.restarting(leader)
    steps = asyncio.gather(
        shared.groups.load("lone", replica("c", 1)),
        shared.groups.unload("pair", "a"),
        shared.groups.dissolve("lone"),
        shared.groups.form("new", LONE, (3,)),
    )
    await asyncio.sleep(0.02)
    assert leader.asked[-1] == "load lone a"
    leader.gate.set()
    await steps
    assert leader.asked[-4:] == ["load lone c", "unload pair a", "dissolve lone", "form new"]
    assert shared.running() == {"pair": ["b"], "new": []}
    assert shared.groups.used_bytes() == [100, 100, 0, 0]


async def test_a_restart_of_one_process_holds_up_no_other(apart: Host) -> None:
    await apart.restarting(apart.leaders[1])
    assert await apart.groups.load("pair", replica("c", 2)) == 0.5
    await apart.groups.dissolve("pair")
    assert apart.running() == {"lone": ["a"]}


async def test_starts_that_fail_are_tried_again(shared: Host) -> None:
    (leader,) = shared.leaders
    leader.fates = [False, False, True]
    leader.die()
    await until(lambda: len(leader.started) == 4)
    await shared.groups.load("pair", replica("c", 2))
    assert shared.running() == {"pair": ["a", "b", "c"], "lone": ["a"]}


async def test_a_process_that_cannot_be_started_any_more_is_given_up_and_its_memory_given_back(shared: Host) -> None:
    leader = shared.leaders[0]
    leader.fates = [False] * 3
    await shared.restarting(leader)
    waiting = asyncio.gather(
        shared.groups.load("pair", replica("c", 2)), shared.groups.dissolve("lone"), return_exceptions=True
    )
    leader.gate.set()
    refused, dissolved = await waiting
    assert isinstance(refused, GroupUnavailable)
    assert dissolved is None
    assert (len(leader.started), shared.running(), shared.groups.used_bytes()) == (4, {}, [0] * 4)


async def test_after_giving_up_groups_can_be_formed_again_elsewhere(shared: Host) -> None:
    leader = shared.leaders[0]
    leader.fates = [False] * 3
    leader.die()
    await until(lambda: not shared.running())
    await shared.groups.form("later", PAIR, (0, 1))
    (lost, found) = shared.leaders
    found.die()
    await until(lambda: len(found.started) == 2)
    assert (lost.started[1], found.started[1]) == ({"pair": ["a", "b"], "lone": ["a"]}, {"later": []})


async def test_a_group_that_was_about_to_join_a_process_that_is_given_up_starts_it_at_another_port(
    shared: Host,
) -> None:
    leader = shared.leaders[0]
    leader.fates = [False] * 3
    await shared.restarting(leader)
    forming = asyncio.create_task(shared.groups.form("late", LONE, (3,)))
    await asyncio.sleep(0)
    leader.gate.set()
    assert await forming == "here:2"
    leader.die()
    await until(lambda: len(leader.started) == 6)
    assert leader.started[-1] == {"late": []}


async def test_a_replica_that_cannot_be_loaded_any_more_is_forgotten_alone(shared: Host) -> None:
    shared.leaders[0].unloadable = {"b"}
    shared.leaders[0].die()
    await until(lambda: shared.running() == {"pair": ["a"], "lone": ["a"]})
    assert shared.groups.used_bytes() == [100, 100, 100, 0]


async def test_a_model_that_its_load_took_the_process_for_is_not_loaded_again(apart: Host) -> None:
    leader = apart.leaders[1]
    leader.gate.clear()
    leader.die()
    with pytest.raises(GroupUnavailable):
        await apart.groups.load("lone", replica("c", 1))
    leader.gate.set()
    await until(lambda: len(leader.started) == 2)
    assert leader.started[1] == {"lone": ["a"]}
    assert apart.groups.used_bytes() == [200, 200, 100, 0]


async def test_a_replica_that_cannot_be_loaded_anew_holds_what_it_held(apart: Host) -> None:
    pair = apart.leaders[0]
    pair.gate.clear()
    pair.die()
    with pytest.raises(GroupUnavailable):
        await apart.groups.load("pair", replica("a", 2, num_bytes=300))
    assert apart.groups.used_bytes() == [200, 200, 100, 0]


async def test_what_a_dead_process_held_is_unloaded_and_dissolved(apart: Host) -> None:
    pair, lone = apart.leaders
    pair.die()
    await apart.groups.unload("pair", "a")
    lone.die()
    await apart.groups.dissolve("lone")
    await until(lambda: len(pair.started) == 2)
    assert pair.started[1] == {"pair": ["b"]}
    assert (apart.running(), len(lone.started)) == ({"pair": ["b"]}, 1)
    assert apart.groups.used_bytes() == [100, 100, 0, 0]


async def test_a_process_that_is_told_to_stop_stays_away(apart: Host) -> None:
    await apart.groups.dissolve("lone")
    await apart.groups.stop()
    assert [leader.asked[-1] for leader in apart.leaders] == ["stop", "stop"]
    assert [len(leader.started) for leader in apart.leaders] == [1, 1]


@pytest.mark.parametrize("executor", ["jax", "emulated"])
async def test_a_process_that_never_started_leaves_nothing_behind(executor: str) -> None:
    settings = WorkerSettings(redis_url="redis://nowhere", executor=executor)
    leader = MortalLeader(settings, ())
    leader.fates = [False, True]
    groups = HostedGroups(settings, lambda *_: leader)
    with pytest.raises(GroupUnavailable):
        await groups.form("lone", LONE, (0,))
    assert groups.all() == []
    assert await groups.form("lone", LONE, (0,)) == "here:1"


def test_the_first_restart_comes_at_once_and_pauses_grow_until_the_process_is_given_up() -> None:
    restarts = Restarts()
    pauses = [restarts.pause_s(1.0) for _ in range(len(PAUSES_S) + 1)]
    assert pauses == [*PAUSES_S, None]
    assert list(PAUSES_S) == sorted(set(PAUSES_S))
    assert PAUSES_S[0] == 0


def test_a_process_that_lived_long_begins_the_row_anew() -> None:
    restarts = Restarts((0.0, 1.0))
    assert [restarts.pause_s(1.0), restarts.pause_s(1.0), restarts.pause_s(STEADY_S)] == [0.0, 1.0, 0.0]
    assert [restarts.pause_s(0.0), restarts.pause_s(0.0)] == [1.0, None]
