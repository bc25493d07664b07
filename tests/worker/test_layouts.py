"""Replicas that are loaded anew: what their devices keep, what is accounted for, and what a failure leaves."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from services.core.device import DeviceCosts, Link
from services.core.errors import AlpaServeError, DoesNotFit, GroupUnavailable, InvalidModel, InvalidPlacement
from services.core.model import ModelSource, RegisteredModel
from services.core.profile import ParallelConfig
from services.worker.actors import HostedGroup
from services.worker.groups import HostedGroups
from services.worker.leader.executor import Replica
from services.worker.settings import WorkerSettings
from tests.worker.mortal_leader import MortalLeader

PIPELINE, SHARDED = ParallelConfig(2, 1), ParallelConfig(1, 2)
LINK = Link(1e-6, 1e9)
COSTS = DeviceCosts(1e12, 1e11, 1e-6, LINK, LINK, LINK, LINK, LINK)
REPLICA = Replica(RegisteredModel("m", "p"), (0.1,), (900,), boundaries=(0, 2, 4), device_costs=COSTS)
FASTER = replace(COSTS, flops_per_s=2e12)


class FailingLeader(MortalLeader):
    """Its loads wait for the gate, and raise `failure` if there is one."""

    failure: Exception | None = None

    async def load(self, group: HostedGroup, replica: Replica) -> float:
        seconds = await super().load(group, replica)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return seconds


@dataclass
class Host:
    """Two devices, and a group on both that holds the replica."""

    config: ParallelConfig
    executor: str = "jax"
    drain_s: float = 5.0
    load_bytes_per_s: float | None = None
    leaders: list[FailingLeader] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = WorkerSettings(
            redis_url="redis://nowhere",
            executor=self.executor,
            num_devices=2,
            memory_bytes=1000,
            drain_s=self.drain_s,
            load_bytes_per_s=self.load_bytes_per_s,
        )
        self.groups = HostedGroups(settings, self._leader)

    def _leader(self, settings: WorkerSettings, local_devices: object) -> FailingLeader:
        self.leaders.append(FailingLeader(settings, ()))
        return self.leaders[-1]

    @property
    def leader(self) -> FailingLeader:
        return self.leaders[0]

    def held(self) -> tuple[list[str], list[int]]:
        (group,) = self.groups.all()
        return sorted(group.replicas), self.groups.used_bytes()

    def of(self, known: Replica) -> Replica:
        """With a latency for each stage of the group."""
        return replace(known, stage_latency_s=(0.1,) * self.config.inter_op)

    async def place(self) -> None:
        await self.groups.form("g", self.config, (0, 1))
        await self.load(REPLICA)
        self.leader.asked.clear()

    async def load(self, wanted: Replica) -> None:
        await self.groups.load("g", self.of(wanted))


async def placed(config: ParallelConfig = PIPELINE, executor: str = "jax", drain_s: float = 5.0) -> Host:
    host = Host(config, executor, drain_s)
    await host.place()
    return host


@pytest.mark.parametrize(
    ("config", "executor", "anew", "is_kept"),
    [
        (PIPELINE, "jax", replace(REPLICA, request_overhead_s=0.1), True),
        (PIPELINE, "jax", replace(REPLICA, device_costs=FASTER), True),
        (PIPELINE, "jax", replace(REPLICA, boundaries=(0, 1, 4)), False),
        (PIPELINE, "jax", replace(REPLICA, boundaries=()), False),
        (PIPELINE, "jax", replace(REPLICA, model=RegisteredModel("m", "p", ModelSource("{}", seed=1))), False),
        (PIPELINE, "emulated", replace(REPLICA, boundaries=(0, 1, 4)), True),
        (SHARDED, "jax", replace(REPLICA, device_costs=FASTER), False),
    ],
)
async def test_a_replica_is_unloaded_first_exactly_where_its_devices_must_hold_something_else(
    config: ParallelConfig, executor: str, anew: Replica, is_kept: bool
) -> None:
    host = await placed(config, executor)
    await host.load(anew)
    assert host.leader.asked == (["load g m"] if is_kept else ["unload g m", "load g m"])
    assert host.held() == (["m"], [900, 900])


@pytest.mark.parametrize(
    ("boundaries", "left"), [((0, 2, 4), (["m"], [900, 900])), ((0, 1, 4), ([], [0, 0]))], ids=["kept", "cut anew"]
)
async def test_a_replica_that_cannot_be_loaded_anew_is_gone_only_if_it_was_unloaded(
    boundaries: tuple[int, ...], left: tuple[list[str], list[int]]
) -> None:
    host = await placed()
    host.leader.failure = InvalidModel("cannot be compiled")
    with pytest.raises(InvalidModel, match="cannot be compiled"):
        await host.load(replace(REPLICA, boundaries=boundaries))
    assert host.held() == left


async def test_a_replica_of_a_dead_process_that_is_to_be_cut_anew_comes_back_as_it_was() -> None:
    host = await placed()
    host.leader.die()
    with pytest.raises(GroupUnavailable):
        await host.load(replace(REPLICA, boundaries=(0, 1, 4)))
    (group,) = host.groups.all()
    assert group.replicas["m"].boundaries == REPLICA.boundaries
    assert host.held() == (["m"], [900, 900])


@pytest.mark.parametrize(
    ("failure", "used_bytes"), [(None, [300, 300]), (InvalidModel("cannot be compiled"), [900, 900])]
)
async def test_a_lighter_profile_frees_memory_only_once_it_is_loaded(
    failure: AlpaServeError | None, used_bytes: list[int]
) -> None:
    host = await placed()
    await host.groups.form("other", ParallelConfig(1, 1), (0,))
    host.leader.failure = failure
    host.leader.gate.clear()
    loading = asyncio.create_task(host.load(replace(REPLICA, stage_weight_bytes=(300,))))
    await asyncio.sleep(0)
    with pytest.raises(DoesNotFit):
        await host.groups.load("other", Replica(RegisteredModel("n", "p"), (0.1,), (600,)))
    host.leader.gate.set()
    (ended,) = await asyncio.gather(loading, return_exceptions=True)
    assert ended is failure
    assert host.groups.used_bytes() == used_bytes


async def test_a_load_that_hangs_does_not_keep_a_worker_from_stopping() -> None:
    host = await placed(drain_s=0.05)
    host.leader.gate.clear()
    loading = asyncio.create_task(host.load(REPLICA))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await host.groups.stop()
    assert host.leader.asked == ["load g m", "stop"]
    host.leader.gate.set()
    await loading


async def test_real_devices_take_no_time_that_is_only_told() -> None:
    host = Host(PIPELINE, "jax", load_bytes_per_s=1.0)
    async with asyncio.timeout(5):
        await host.place()
    assert host.held() == (["m"], [900, 900])


async def test_emulated_devices_take_the_time_that_they_are_told() -> None:
    host = Host(PIPELINE, "emulated", load_bytes_per_s=90_000.0)
    await host.groups.form("g", PIPELINE, (0, 1))
    assert await host.groups.load("g", host.of(REPLICA)) == 0.01 + 0.5


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (replace(REPLICA, stage_latency_s=(0.1, 0.1), stage_weight_bytes=(1001,)), DoesNotFit),
        (REPLICA, InvalidPlacement),
    ],
)
async def test_what_emulated_devices_cannot_load_is_refused_at_once(
    wanted: Replica, error: type[AlpaServeError]
) -> None:
    host = Host(PIPELINE, "emulated", load_bytes_per_s=1.0)
    await host.groups.form("g", PIPELINE, (0, 1))
    async with asyncio.timeout(5):
        with pytest.raises(error):
            await host.groups.load("g", wanted)
    assert host.held() == ([], [0, 0])
