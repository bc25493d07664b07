"""A leader of the tests: it speaks the protocol over a real channel and answers as it was told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from alpaserve.v1 import leader_pb2, leader_pb2_grpc
from grpc import aio

from services.core.deployment import DeployedGroup, DeployedModel, Deployment
from services.core.profile import ParallelConfig
from services.router.dispatcher import Dispatcher
from services.router.groups import Groups

Answer = Callable[[leader_pb2.Submit], leader_pb2.ExecuteResponse | None]


def serve(submit: leader_pb2.Submit) -> leader_pb2.ExecuteResponse:
    return leader_pb2.ExecuteResponse(
        served=leader_pb2.Served(sequence=submit.sequence, outputs=submit.inputs, predicted_s=0.5)
    )


def reject(group: str, free_in_s: float, *, queue_full: bool = False) -> Answer:
    """Reject, with a clock that says when the only stage is free."""

    def answer(submit: leader_pb2.Submit) -> leader_pb2.ExecuteResponse:
        state = leader_pb2.QueueState(
            group=group, free_in_s=[free_in_s], num_in_flight=1, received={"r1": submit.sequence}
        )
        rejected = leader_pb2.Rejected(
            sequence=submit.sequence, predicted_s=free_in_s + 0.1, queue_full=queue_full, state=state
        )
        return leader_pb2.ExecuteResponse(rejected=rejected)

    return answer


def fail(reason: leader_pb2.FailureReason.ValueType, *, started: bool = False, message: str = "why") -> Answer:
    def answer(submit: leader_pb2.Submit) -> leader_pb2.ExecuteResponse:
        failed = leader_pb2.Failed(sequence=submit.sequence, reason=reason, started=started, message=message)
        return leader_pb2.ExecuteResponse(failed=failed)

    return answer


def keep_silent(submit: leader_pb2.Submit) -> None:
    """Never answer."""


def twice(submit: leader_pb2.Submit) -> leader_pb2.ExecuteResponse:
    """Answer for the request that is asked next as well."""
    return leader_pb2.ExecuteResponse(served=leader_pb2.Served(sequence=submit.sequence + 1))


@dataclass
class ScriptedLeader(leader_pb2_grpc.LeaderServicer):
    """Answers each request by `answer`; notes what it was sent, by group."""

    answer: Answer = serve
    context: aio.ServicerContext[Any, Any] | None = None
    opened: list[leader_pb2.Open] = field(default_factory=list)
    submitted: list[leader_pb2.Submit] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    server: aio.Server | None = None
    address: str = ""

    async def Execute(  # type: ignore[override]
        self, requests: AsyncIterator[leader_pb2.ExecuteRequest], context: aio.ServicerContext[Any, Any]
    ) -> None:
        async for bundle in requests:
            for request in (bundle, *bundle.more):
                if request.HasField("open"):
                    self.opened.append(request.open)
                    self.context = context
                elif request.HasField("cancel"):
                    self.cancelled.append(request.cancel.sequence)
                elif request.HasField("submit"):
                    self.submitted.append(request.submit)
                    response = self.answer(request.submit)
                    if response is not None:
                        await context.write(response)

    async def send(self, response: leader_pb2.ExecuteResponse) -> None:
        """Answer later than asked, on the newest stream."""
        if self.context is not None:
            await self.context.write(response)

    async def start(self, port: int = 0) -> None:
        self.server = aio.server()
        leader_pb2_grpc.add_LeaderServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self.server.start()

    async def die(self) -> None:
        """Break every stream at once."""
        if self.server is not None:
            await self.server.stop(None)


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
