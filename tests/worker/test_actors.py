"""A process of leaders that is started again: what becomes of replicas that it cannot load any more, and that it can be
stopped meanwhile."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from services.core.errors import DoesNotFit, GroupUnavailable, InvalidModel
from services.core.model import RegisteredModel
from services.core.profile import ParallelConfig
from services.worker import actors
from services.worker.actors import HostedGroup, LeaderActor, resumed
from services.worker.leader.executor import Replica
from services.worker.leader.tally import GroupTally
from services.worker.settings import WorkerSettings

LONE = ParallelConfig(1, 1)


class Call:
    """A method of an actor whose answer is what a table says of the model, if it says anything."""

    def __init__(self, failures: dict[str, Exception]) -> None:
        self.failures = failures
        self.asked: list[str] = []

    async def remote(self, group: str, given: Replica | ParallelConfig, *_: object) -> None:
        name = given.model.name if isinstance(given, Replica) else group
        self.asked.append(name)
        if name in self.failures:
            raise self.failures[name]


class Actor:
    """A new process of leaders."""

    def __init__(self, failures: dict[str, Exception]) -> None:
        self.form = Call({})
        self.load = Call(failures)


def raised(cause: Exception) -> RayTaskError:
    """A method's own exception, as its caller gets it."""
    untyped: Any = RayTaskError
    error = untyped("load", "Traceback: a frame of the model", cause).as_instanceof_cause()
    assert isinstance(error, RayTaskError)
    return error


def hosted(*models: str) -> HostedGroup:
    leader: Any = None
    replicas = {name: Replica(RegisteredModel(name, "p"), (0.1,), (1,)) for name in models}
    return HostedGroup("g", LONE, (0,), leader, replicas)


@pytest.mark.parametrize(
    "cause", [KeyError("a user's own"), RuntimeError("RESOURCE_EXHAUSTED"), InvalidModel("no"), DoesNotFit("no")]
)
async def test_a_replica_whose_load_fails_is_lost_alone(cause: Exception) -> None:
    actor = Actor({"b": raised(cause)})
    assert await resumed(actor, hosted("a", "b", "c")) == ["b"]
    assert actor.load.asked == ["a", "b", "c"]


async def test_a_process_that_ends_meanwhile_is_not_resumed() -> None:
    with pytest.raises(GroupUnavailable):
        await resumed(Actor({"b": ActorDiedError()}), hosted("a", "b", "c"))


async def test_an_exception_of_a_model_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    await resumed(Actor({"a": raised(KeyError("a user's own"))}), hosted("a"))
    assert "Traceback: a frame of the model" in "".join(capsys.readouterr())


class Serving:
    """A process of leaders that serves until its life ends."""

    def __init__(self) -> None:
        self.life: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open = Remote(self._open)
        self.answers = Remote(self._answers)
        self.serve = Remote(lambda: self.life)

    async def _open(self, port: int) -> str:
        return "here:1"

    async def _answers(self) -> tuple[GroupTally, ...]:
        return ()


@dataclass(frozen=True)
class Remote:
    """A method of an actor."""

    remote: Callable[..., Any]


async def pid_of(_: Any) -> int:
    return 1


async def test_a_leader_can_be_stopped_while_it_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Serving(), Serving()
    starts, is_free = iter((first, second)), Event()
    is_free.set()

    def start_actor(*_: Any) -> Serving:
        is_free.wait(10)
        return next(starts)

    ended: list[Serving] = []
    monkeypatch.setattr(actors, "start_actor", start_actor)
    monkeypatch.setattr(actors, "make_mortal", pid_of)
    monkeypatch.setattr(actors, "end_actor", lambda actor, pid: ended.append(actor))
    leader = LeaderActor(WorkerSettings(redis_url="redis://nowhere", executor="emulated"), (0,))
    await leader.start([])
    first.life.set_exception(ActorDiedError())
    assert await leader.ended() is not None

    is_free.clear()
    restarting = asyncio.create_task(leader.start([]))
    await asyncio.sleep(0)
    await leader.stop(5.0)

    assert not restarting.done()
    restarting.cancel()
    is_free.set()
    await asyncio.wait([restarting])
    assert ended == [first]
