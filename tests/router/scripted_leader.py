"""A leader of the tests: it speaks the protocol over real connections and answers as it was told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from alpaserve.v1 import leader_pb2, router_pb2, tensor_pb2

from services.core.deployment import DeployedGroup, DeployedModel, Deployment
from services.core.profile import ParallelConfig
from services.infra.messages import Messages
from services.router.dispatcher import Dispatcher
from services.router.groups import Groups

LARGEST_BYTES = 2**21
Answer = Callable[[leader_pb2.Submit], leader_pb2.FromLeader | None]


def serve(submit: leader_pb2.Submit) -> leader_pb2.FromLeader:
    request = router_pb2.InferRequest.FromString(submit.request)
    response = router_pb2.InferResponse(outputs=request.inputs, batch_size=1).SerializeToString()
    return leader_pb2.FromLeader(served=leader_pb2.Served(sequence=submit.sequence, response=response, predicted_s=0.5))


def outputs(served: leader_pb2.Served) -> dict[str, tensor_pb2.Tensor]:
    return dict(router_pb2.InferResponse.FromString(served.response).outputs)


def reject(group: str, free_in_s: float, *, queue_full: bool = False) -> Answer:
    """Reject, with a clock that says when the only stage is free."""

    def answer(submit: leader_pb2.Submit) -> leader_pb2.FromLeader:
        state = leader_pb2.QueueState(
            group=group, free_in_s=[free_in_s], num_in_flight=1, received={"r1": submit.sequence}
        )
        rejected = leader_pb2.Rejected(
            sequence=submit.sequence, predicted_s=free_in_s + 0.1, queue_full=queue_full, state=state
        )
        return leader_pb2.FromLeader(rejected=rejected)

    return answer


def fail(reason: leader_pb2.FailureReason.ValueType, *, started: bool = False, message: str = "why") -> Answer:
    def answer(submit: leader_pb2.Submit) -> leader_pb2.FromLeader:
        failed = leader_pb2.Failed(sequence=submit.sequence, reason=reason, started=started, message=message)
        return leader_pb2.FromLeader(failed=failed)

    return answer


def keep_silent(submit: leader_pb2.Submit) -> None:
    """Never answer."""


def twice(submit: leader_pb2.Submit) -> leader_pb2.FromLeader:
    """Answer for the request that is asked next as well."""
    return leader_pb2.FromLeader(served=leader_pb2.Served(sequence=submit.sequence + 1))


class ScriptedConnection(Messages[leader_pb2.ToLeader]):
    """A router's, to the leader that tells it what to answer."""

    def __init__(self, leader: "ScriptedLeader") -> None:
        super().__init__(leader_pb2.ToLeader, LARGEST_BYTES)
        self._leader = leader

    def received(self, message: leader_pb2.ToLeader) -> None:
        if message.HasField("open"):
            self._leader.opened.append(message.open)
            self._leader.connections.append(self)
            if self._leader.refusal:
                self.send(leader_pb2.FromLeader(refused=leader_pb2.Refused(message=self._leader.refusal)))
                self.close()
            else:
                self.send(leader_pb2.FromLeader(opened=leader_pb2.Opened()))
        elif message.HasField("cancel"):
            self._leader.cancelled.append(message.cancel.sequence)
        else:
            self._leader.submitted.append(message.submit)
            response = self._leader.answer(message.submit)
            if response is not None:
                self.send(response)


@dataclass
class ScriptedLeader:
    """Answers each request by `answer`; notes what it was sent."""

    answer: Answer = serve
    refusal: str = ""
    opened: list[leader_pb2.Open] = field(default_factory=list)
    connections: list[ScriptedConnection] = field(default_factory=list)
    submitted: list[leader_pb2.Submit] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    server: asyncio.Server | None = None
    address: str = ""

    def send(self, response: leader_pb2.FromLeader) -> None:
        """Answer later than asked, on the newest connection."""
        self.connections[-1].send(response)

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: ScriptedConnection(self), "127.0.0.1", port)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def die(self) -> None:
        """Break every connection at once."""
        if self.server is not None:
            self.server.close()
        for connection in self.connections:
            connection.abort("the test says so")


def group(name: str, address: str, *models: str, latency_s: float = 0.1) -> DeployedGroup:
    return DeployedGroup(name, ParallelConfig(1, 1), (0,), "w", address, dict.fromkeys(models, (latency_s,)))


def deployment(version: int, *groups: DeployedGroup, dispatch: str = "earliest-free") -> Deployment:
    return Deployment(
        version=version,
        groups=groups,
        models={
            "m": DeployedModel(slo_s=5.0),
            "once": DeployedModel(slo_s=5.0, idempotent=False),
            "patient": DeployedModel(),
            "unplaced": DeployedModel(),
        },
        dispatch=dispatch,
    )


async def is_registered(model: str) -> bool:
    return model == "registered"


@asynccontextmanager
async def dispatching() -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(Groups("r1", 2**20), is_registered)
    try:
        yield dispatcher
    finally:
        await dispatcher.groups.close()
