"""A secured system refuses, each with the right status, whom it does not know, and serves whom it does."""

import hashlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import yaml
from alpaserve.v1 import leader_pb2, model_pb2, planner_pb2, worker_pb2, worker_pb2_grpc
from alpaserve_cli.authority import Authority
from alpaserve_cli.health import is_healthy
from alpaserve_client import (
    AlpaServeClientError,
    InvalidArgument,
    PermissionDenied,
    PlannerClient,
    Tls,
    Unauthenticated,
    Unavailable,
)
from alpaserve_client.connection import connect

from tests.e2e.secured_system import MODEL, UP, Secured, say_open, secured_system
from tests.snippets import ALL_SNIPPETS
from tests.waiting import until

STRANGER = "a-token-that-nobody-knows"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    # Ray's sockets need a short path.
    ray_directory = Path(tempfile.mkdtemp(prefix="as-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, ray_directory, ignore_errors=True)
        yield stack.enter_context(secured_system(tmp_path_factory.mktemp("secured"), ray_directory))


def test_who_shows_certificate_and_token_is_served(system: Secured) -> None:
    system.ask()


@pytest.mark.parametrize(
    ("token", "refusal", "why"),
    [
        ("", Unauthenticated, "no token"),
        (STRANGER, Unauthenticated, "unknown token"),
        ("plan", PermissionDenied, "needs scope infer; token 'plan' has plan"),
    ],
)
def test_a_token_that_is_not_good_for_it_is_refused(
    system: Secured, token: str, refusal: type[AlpaServeClientError], why: str
) -> None:
    shown = system.token(token) if token == "plan" else token

    with pytest.raises(refusal, match=why) as refused:
        system.ask(system.options(shown))

    assert STRANGER not in str(refused.value)
    system.ask()


@pytest.mark.parametrize("token", ["infer", "plan"])
def test_nothing_is_changed_without_the_scope_for_it(system: Secured, token: str) -> None:
    with system.planner(token) as planner, pytest.raises(PermissionDenied, match="needs scope admin"):
        planner.remove_model(MODEL)
    with system.planner(token) as planner, pytest.raises(PermissionDenied, match="needs scope admin"):
        list(planner.plan(planner_pb2.PlanRequest()))
    system.ask()


def test_a_worker_takes_no_orders_from_strangers(system: Secured) -> None:
    for token, code in (("", grpc.StatusCode.UNAUTHENTICATED), ("infer", grpc.StatusCode.PERMISSION_DENIED)):
        options = system.options(system.token(token) if token else "")
        with connect(system.addresses["worker"], options) as channel, pytest.raises(grpc.RpcError) as refused:
            worker_pb2_grpc.WorkerStub(channel).DissolveGroup(worker_pb2.DissolveGroupRequest(group="g1"), timeout=20)
        assert isinstance(refused.value, grpc.Call)
        assert refused.value.code() is code
    system.ask()


def other_ends(system: Secured) -> dict[str, Tls | None]:
    """Those whom a handshake turns away, or who turn away themselves."""
    stranger = Authority(1.0)
    foreign = system.files.directory / "foreign-ca.pem"
    foreign.write_bytes(stranger.own.certificate)
    return {
        "in the clear": None,
        "without a certificate": Tls(ca=system.files.ca),
        "expired": system.tls(system.authority.sign("late", days=-1.0), "late"),
        "of another CA": system.tls(stranger.sign("stranger"), "stranger"),
        "that trusts another CA": system.tls(ca=foreign),
    }


@pytest.mark.parametrize(
    "who", ["in the clear", "without a certificate", "expired", "of another CA", "that trusts another CA"]
)
@pytest.mark.parametrize("service", ["router", "planner", "worker", "profiler"])
def test_no_connection_comes_about_with_a_wrong_end(system: Secured, service: str, who: str) -> None:
    tls = other_ends(system)[who]
    options = system.options(system.token("admin") if tls else "", tls) if tls else None

    address = system.addresses[service]
    with PlannerClient(address, options) as client, pytest.raises(Unavailable):
        client.status()

    assert is_healthy(address, system.tls())


def test_a_leader_lets_routers_in_and_nobody_else(system: Secured) -> None:
    group, address = system.leader()
    good, router = system.tls(), system.token("router")
    tries = {
        "opened": (good, router),
        "refused: no token: send authorization: Bearer TOKEN": (good, ""),
        "refused: unknown token": (good, STRANGER),
        "refused: needs scope serve; token 'infer' has infer": (good, system.token("infer")),
        "refused: needs scope serve; token 'admin' has admin, infer, plan": (good, system.token("admin")),
    }
    answers = {
        say_open(address, leader_pb2.Open(group=group, router="r", token=token), tls) for tls, token in tries.values()
    }
    cut = {
        say_open(address, leader_pb2.Open(group=group, router="r", token=router), tls)
        for who, tls in other_ends(system).items()
    }

    assert answers == set(tries)
    assert cut == {""}
    system.ask()


@pytest.mark.parametrize("checkpoint", ["../../etc", "/etc", "{models}/../security", "{models}/link", "{models}-2"])
def test_a_checkpoint_out_of_the_models_directory_is_named(system: Secured, checkpoint: str) -> None:
    models = system.directory / "data/models"
    link = models / "link"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc")
    given = checkpoint.format(models=models)
    model = model_pb2.Model(name="m", profile=MODEL, source=model_pb2.ModelSource(checkpoint=given))

    with system.planner() as planner, pytest.raises(InvalidArgument) as refused:
        planner.register_model(model)

    assert given in str(refused.value)


async def test_a_token_is_known_once_it_is_listed_and_until_it_is_not(system: Secured) -> None:
    before = system.files.tokens_file.read_text()
    document = yaml.safe_load(before)
    added = {"name": "new", "sha256": hashlib.sha256(b"new-token").hexdigest(), "scopes": ["infer"]}
    document["tokens"].append(added)

    system.files.tokens_file.write_text(yaml.safe_dump(document))
    await until(lambda: is_served(system, "new-token"))
    system.files.tokens_file.write_text(before)
    await until(lambda: not is_served(system, "new-token"))

    system.ask()


def is_served(system: Secured, token: str) -> bool:
    try:
        system.ask(system.options(token))
    except Unauthenticated:
        return False
    return True


def test_the_readme_s_commands_and_program_are_let_in(system: Secured, tmp_path: Path) -> None:
    shell, program = (one for one in ALL_SNIPPETS if one.section == "Security")
    up, source, certificates = shell.commands()
    text = program.text.replace("127.0.0.1:50051", system.addresses["router"]).replace("my-model", MODEL)

    assert up == f".venv/bin/alpaserve {UP} &"
    shown = source.replace("~/.alpaserve", str(system.directory / "data"))
    assert "input_ids" in system.shell(f"{shown} && {sys.executable} -c {shlex.quote(text)}").stdout
    here = certificates.replace(".venv/bin/alpaserve", f"{sys.executable} -m alpaserve_cli")
    made = system.shell(here.replace("DIR", str(tmp_path / "made")))
    assert (made.returncode, (tmp_path / "made/ca.pem").exists()) == (0, True)


def test_a_command_says_what_its_token_lacks(system: Secured) -> None:
    planner, infer = system.addresses["planner"], system.files.token_file("infer")
    shown = f". {system.files.client_env} && {sys.executable} -m alpaserve_cli --token-file {infer}"

    refused = system.shell(f"{shown} status --planner {planner}")

    assert (refused.returncode, refused.stderr) == (1, "error: needs scope plan; token 'infer' has infer\n")


def test_nothing_that_was_written_holds_a_secret(system: Secured, request: pytest.FixtureRequest) -> None:
    """Ends the system, and reads what all of it left."""
    mine = [item for item in request.session.items if item.path == request.path]
    assert mine[-1] is request.node, "it must be the last of this file"
    secrets = {*system.secrets(), STRANGER}
    system.process.terminate()
    system.process.wait(timeout=60)

    data = system.directory / "data"
    logs = [system.directory / "up.err", data / "redis/redis.log", *(data / "logs").iterdir()]
    logs += system.ray_directory.rglob("*")
    texts = {str(path): path.read_bytes() for path in logs if path.is_file()}
    texts["output"] = "".join(system.outputs).encode()

    assert len(secrets) >= 3 + 3 * 2 + 2
    assert any(b"placement_followed" in text for text in texts.values())
    assert any("gcs_server" in path for path in texts)
    assert [(path, secret) for path, text in texts.items() for secret in secrets if secret.encode() in text] == []
