"""A server with TLS and tokens: who is let in, and how the others are told."""

import asyncio
import re
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from alpaserve.v1 import planner_pb2, planner_pb2_grpc, worker_pb2
from alpaserve_cli.addresses import free_port
from alpaserve_cli.authority import Authority
from alpaserve_cli.security_files import SecurityFiles
from alpaserve_client import Tls
from alpaserve_client.security import open_async_channel
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.infra.security.settings import SecuritySettings
from services.infra.server import Server
from services.infra.settings import ServiceSettings
from services.planner.cluster import WorkerStubs

DAYS = 3.0
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
LARGE = (("grpc.max_send_message_length", -1),)
Code = grpc.StatusCode


class SmallPlanner:
    """Answers three RPCs of the planner, each of another scope."""

    async def GetStatus(self, request: planner_pb2.GetStatusRequest, context: object) -> planner_pb2.GetStatusResponse:
        return planner_pb2.GetStatusResponse()

    async def RemoveModel(
        self, request: planner_pb2.RemoveModelRequest, context: object
    ) -> planner_pb2.RemoveModelResponse:
        return planner_pb2.RemoveModelResponse()

    async def Plan(self, request: planner_pb2.PlanRequest, context: object) -> AsyncIterator[planner_pb2.PlanResponse]:
        yield planner_pb2.PlanResponse()


class SmallWorker:
    """Answers one RPC of a worker."""

    async def GetWorkerStatus(
        self, request: worker_pb2.GetWorkerStatusRequest, context: object
    ) -> worker_pb2.GetWorkerStatusResponse:
        return worker_pb2.GetWorkerStatusResponse()


def add_small_worker(servicer: Any, server: aio.Server) -> None:
    status = worker_pb2.GetWorkerStatusRequest.FromString
    methods = {"GetWorkerStatus": grpc.unary_unary_rpc_method_handler(servicer.GetWorkerStatus, status, serialized)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("alpaserve.v1.Worker", methods),))


def add_small_planner(servicer: Any, server: aio.Server) -> None:
    requests = planner_pb2.PlanRequest, planner_pb2.GetStatusRequest, planner_pb2.RemoveModelRequest
    plan, status, remove = (request.FromString for request in requests)
    methods = {
        "Plan": grpc.unary_stream_rpc_method_handler(servicer.Plan, plan, serialized),
        "GetStatus": grpc.unary_unary_rpc_method_handler(servicer.GetStatus, status, serialized),
        "RemoveModel": grpc.unary_unary_rpc_method_handler(servicer.RemoveModel, remove, serialized),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("alpaserve.v1.Planner", methods),))


def serialized(message: Message) -> bytes:
    return message.SerializeToString()


@dataclass(frozen=True)
class Door:
    """A secured server and the files that lead to it."""

    files: SecurityFiles
    address: str
    metrics_port: int
    stack: AsyncExitStack

    def token(self, name: str) -> str:
        return self.files.token_file(name).read_text().strip() if name else ""

    def tls(self, **files: Path) -> Tls:
        directory = self.files.directory
        given: dict[str, Any] = {"certificate": directory / "client.pem", "key": directory / "client-key.pem", **files}
        return Tls(**{"ca": self.files.ca, **given})

    async def channel(self, token: str = "", tls: Tls | None = None) -> aio.Channel:
        channel = open_async_channel(self.address, OWN_CONNECTION, tls or self.tls(), token)
        return await self.stack.enter_async_context(channel)

    async def planner(self, name: str) -> "planner_pb2_grpc.PlannerAsyncStub":
        return planner_pb2_grpc.PlannerStub(await self.channel(self.token(name)))


def settings_of(files: SecurityFiles) -> dict[str, str]:
    variables = files.variables("server")
    return {name.removeprefix("ALPASERVE_").lower(): value for name, value in variables.items()}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    files = SecurityFiles(tmp_path / "security")
    files.make(Authority(DAYS))
    metrics_port = free_port()
    settings = ServiceSettings.model_validate(
        {
            "redis_url": "redis://127.0.0.1:1/0",
            "tokens_file": files.tokens_file,
            "metrics_port": metrics_port,
            "max_message_bytes": 2**20,
            **settings_of(files),
        }
    )
    async with AsyncExitStack() as stack:
        server = Server(settings)
        server.add(SmallPlanner(), add_small_planner, planner_pb2.DESCRIPTOR, "Planner")
        server.add(SmallWorker(), add_small_worker, worker_pb2.DESCRIPTOR, "Worker")
        await server.start()
        stack.push_async_callback(server.stop)
        yield Door(files, server.address, metrics_port, stack)


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """OK, or how the call was refused."""
    try:
        await (call if not hasattr(call, "read") else call.read())
    except aio.AioRpcError as error:
        return error.code(), str(error.details())
    return Code.OK, ""


@pytest.mark.parametrize(
    ("token", "read", "change", "search", "search_and_apply"),
    [
        ("", Code.UNAUTHENTICATED, Code.UNAUTHENTICATED, Code.UNAUTHENTICATED, Code.UNAUTHENTICATED),
        ("infer", Code.PERMISSION_DENIED, Code.PERMISSION_DENIED, Code.PERMISSION_DENIED, Code.PERMISSION_DENIED),
        ("plan", Code.OK, Code.PERMISSION_DENIED, Code.OK, Code.PERMISSION_DENIED),
        ("admin", Code.OK, Code.OK, Code.OK, Code.OK),
    ],
)
async def test_a_token_is_good_for_its_scopes(
    door: Door, token: str, read: Code, change: Code, search: Code, search_and_apply: Code
) -> None:
    planner = await door.planner(token)

    found = [
        (await status_of(call))[0]
        for call in (
            planner.GetStatus(planner_pb2.GetStatusRequest()),
            planner.RemoveModel(planner_pb2.RemoveModelRequest()),
            planner.Plan(planner_pb2.PlanRequest(validate_only=True)),
            planner.Plan(planner_pb2.PlanRequest()),
        )
    ]

    assert found == [read, change, search, search_and_apply]


async def test_a_refusal_names_the_scope_that_is_missing_and_those_that_are_there(door: Door) -> None:
    planner = await door.planner("plan")

    refused = await status_of(planner.RemoveModel(planner_pb2.RemoveModelRequest()))

    assert refused == (Code.PERMISSION_DENIED, "needs scope admin; token 'plan' has plan")


async def test_workers_are_shown_a_token_as_it_is_then(door: Door, tmp_path: Path) -> None:
    own = tmp_path / "own.token"
    own.write_text(door.token("plan"))
    stubs = WorkerStubs(SecuritySettings.model_validate({**settings_of(door.files), "token_file": own}))
    door.stack.push_async_callback(stubs.close)

    async def asked() -> Code:
        return (await status_of(stubs.at(door.address).GetWorkerStatus(worker_pb2.GetWorkerStatusRequest())))[0]

    assert await asked() is Code.PERMISSION_DENIED
    own.write_text(door.token("admin"))
    assert await asked() is Code.OK


async def test_an_unknown_token_is_refused_and_not_repeated(door: Door) -> None:
    planner = planner_pb2_grpc.PlannerStub(await door.channel("not-a-token-of-ours"))

    refused = await status_of(planner.GetStatus(planner_pb2.GetStatusRequest()))

    assert refused == (Code.UNAUTHENTICATED, "unknown token")


async def test_health_is_told_without_a_token_and_reflection_is_not(door: Door) -> None:
    channel = await door.channel()
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    reflected = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked)

    assert [(await status_of(call))[0] for call in (health, reflected)] == [Code.OK, Code.UNAUTHENTICATED]


async def test_whoever_shows_no_certificate_of_the_ca_is_not_connected(door: Door, tmp_path: Path) -> None:
    stranger, late = Authority(1).sign("stranger"), tmp_path / "late.pem"
    (tmp_path / "key.pem").write_bytes(stranger.key)
    late.write_bytes(stranger.certificate)
    tries = {
        "without one": Tls(ca=door.files.ca),
        "of another CA": door.tls(certificate=late, key=tmp_path / "key.pem"),
    }

    for tls in tries.values():
        planner = planner_pb2_grpc.PlannerStub(await door.channel(door.token("admin"), tls))
        assert (await status_of(planner.GetStatus(planner_pb2.GetStatusRequest())))[0] is Code.UNAVAILABLE


async def test_a_caller_in_the_clear_is_not_connected(door: Door) -> None:
    async with aio.insecure_channel(door.address, OWN_CONNECTION) as channel:
        refused = await status_of(
            planner_pb2_grpc.PlannerStub(channel).GetStatus(planner_pb2.GetStatusRequest(), timeout=5)
        )

    assert refused[0] is Code.UNAVAILABLE


async def test_metrics_are_for_those_with_a_certificate(door: Door) -> None:
    url = f"https://127.0.0.1:{door.metrics_port}/metrics"
    known = ssl.create_default_context(cafile=str(door.files.ca))
    known.load_cert_chain(door.files.directory / "client.pem", door.files.directory / "client-key.pem")
    unknown = ssl.create_default_context(cafile=str(door.files.ca))

    told = (await asyncio.to_thread(read, url, known)).decode()
    assert "alpaserve_calls_refused_total" in told
    (expiry,) = re.findall(r"^alpaserve_certificate_expiry_timestamp_seconds (.+)$", told, re.MULTILINE)
    assert float(expiry) == pytest.approx(time.time() + DAYS * 86_400, abs=3_600)
    for refused, context in ((url, unknown), (url.replace("https", "http"), None)):
        with pytest.raises(OSError, match=r"EOF|required|closed|reset"):
            await asyncio.to_thread(read, refused, context)


def read(url: str, context: ssl.SSLContext | None) -> bytes:
    with urllib.request.urlopen(url, timeout=10, context=context) as response:
        content: bytes = response.read()
        return content


async def test_a_message_above_the_limit_is_refused_also_of_whom_is_known(door: Door) -> None:
    planner = await door.planner("plan")
    large = planner_pb2.PlanRequest(validate_only=True, policy="x" * 2**20)

    async with aio.secure_channel(door.address, door.tls().credentials(), LARGE) as channel:
        stub = planner_pb2_grpc.PlannerStub(channel)
        shown = (("authorization", f"Bearer {door.token('plan')}"),)
        refused = await status_of(stub.Plan(large, metadata=shown))

    assert refused[0] is Code.RESOURCE_EXHAUSTED
    assert await status_of(planner.GetStatus(planner_pb2.GetStatusRequest())) == (Code.OK, "")
