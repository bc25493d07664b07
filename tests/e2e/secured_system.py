"""A whole system as `alpaserve up --secure` runs it, and all the secrets that it was told."""

import json
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from alpaserve.v1 import leader_pb2, model_pb2, placement_pb2
from alpaserve_cli.authority import Authority, Signed
from alpaserve_cli.security_files import TOKENS, SecurityFiles
from alpaserve_client import Client, ConnectionOptions, PlannerClient, ProfilerClient, Tls

from tests.documents import read_document
from tests.e2e.cluster import quick_profiles

MODEL = "quick"
UP = "up --secure"
SECRET_VARIABLES = ("RAY_AUTH_TOKEN",)


@dataclass
class Secured:
    """The running system. `outputs` collects what commands printed."""

    directory: Path
    authority: Authority
    files: SecurityFiles
    addresses: dict[str, str]
    pids: dict[str, int]
    process: subprocess.Popen[str]
    ray_directory: Path
    outputs: list[str] = field(default_factory=list)

    def token(self, name: str) -> str:
        return self.files.token_file(name).read_text().strip()

    def tls(self, pair: Signed | None = None, name: str = "client", ca: Path | None = None) -> Tls:
        """As a client that shows the system's own certificate for clients, or another."""
        directory = self.files.directory
        if pair is not None:
            (directory / f"{name}.pem").write_bytes(pair.certificate)
            (directory / f"{name}-key.pem").write_bytes(pair.key)
        return Tls(ca or self.files.ca, directory / f"{name}.pem", directory / f"{name}-key.pem")

    def options(self, token: str = "", tls: Tls | None = None) -> ConnectionOptions:
        return ConnectionOptions(num_retries=0, timeout_s=20, tls=tls or self.tls(), token=token)

    def ask(self, options: ConnectionOptions | None = None) -> None:
        """Raises: as the SDK does."""
        with Client(self.addresses["router"], options or self.options(self.token("infer"))) as client:
            assert list(client.infer(MODEL, {"x": [1, 2]}).outputs["x"]) == [1, 2]

    def planner(self, token: str = "admin") -> PlannerClient:
        return PlannerClient(self.addresses["planner"], self.options(self.token(token)))

    def leader(self) -> tuple[str, str]:
        """A group's name, and its leader's address."""
        with self.planner("plan") as planner:
            (group,) = planner.placement().placement.groups
        return group.name, group.address

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """What it prints is kept."""
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        self.outputs += [done.stdout, done.stderr]
        return done

    def secrets(self) -> set[str]:
        """Tokens, the body of each private key, and what only the processes themselves were told."""
        found = {self.token(name) for name in TOKENS}
        for path in self.files.directory.glob("*-key.pem"):
            found.update(line for line in path.read_text().splitlines() if not line.startswith("--"))
        for pid in self.pids.values():
            variables = dict(
                line.split("=", 1) for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in line
            )
            found.add(variables["ALPASERVE_REDIS_URL"].partition("//:")[2].partition("@")[0])
            found.update(variables[name] for name in SECRET_VARIABLES if name in variables)
        return found - {""}

    def place(self) -> None:
        """One model on one group, and one device left."""
        with ProfilerClient(self.addresses["profiler"], self.options(self.token("admin"))) as profiler:
            profiler.import_profiles(json.dumps(quick_profiles()).encode())
        config = model_pb2.ParallelConfig(inter_op=1, intra_op=1)
        group = placement_pb2.Group(config=config, devices=[0], models=[MODEL])
        with self.planner() as planner:
            planner.register_model(model_pb2.Model(name=MODEL, profile=MODEL))
            planner.apply(placement_pb2.Placement(groups=[group]), timeout_s=60)


@contextmanager
def secured_system(directory: Path, ray_directory: Path) -> Iterator[Secured]:
    """With logs of every request, in a directory; Ray's are in a directory of its own."""
    authority, files = Authority(1.0), SecurityFiles(directory / "data/security")
    files.make(authority)
    arguments = ["--data-dir", str(directory / "data"), "--port", "0", "--executor", "emulated", "--num-devices", "2"]
    command = [sys.executable, "-m", "alpaserve_cli", *UP.split(), *arguments, "--memory-bytes", "16000000000"]
    env = {**os.environ, "ALPASERVE_LOG_LEVEL": "debug", "RAY_TMPDIR": str(ray_directory)}
    with (
        (directory / "up.err").open("w") as errors,
        subprocess.Popen(
            [*command, "--drain", "2", "--output", "json"], stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        ) as process,
    ):
        try:
            told = read_document(process)
            system = Secured(directory, authority, files, told["addresses"], told["pids"], process, ray_directory)
            system.outputs.append(json.dumps(told))
            system.place()
            yield system
        finally:
            process.terminate()
            process.wait(timeout=60)


def say_open(address: str, opening: leader_pb2.Open, tls: Tls | None) -> str:
    """Open a connection as a router does: `opened`, `refused` and why, or nothing if it was cut."""
    host, _, port = address.rpartition(":")
    content = leader_pb2.ToLeader(open=opening).SerializeToString()
    try:
        bare = socket.create_connection((host, int(port)), timeout=10)
        with bare, wrapped(bare, host, tls) as connection:
            connection.sendall(struct.pack(">I", len(content)) + content)
            return first_answer(connection)
    except (ssl.SSLError, ConnectionError):
        return ""


def wrapped(bare: socket.socket, host: str, tls: Tls | None) -> socket.socket:
    if tls is None:
        return bare
    context = ssl.create_default_context(cafile=str(tls.ca))
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context.wrap_socket(bare, server_hostname=host)


def first_answer(connection: socket.socket) -> str:
    known = b""
    while received := connection.recv(4096):
        known += received
        while len(known) >= 4:
            (length,) = struct.unpack(">I", known[:4])
            if len(known) < 4 + length:
                break
            message, known = leader_pb2.FromLeader.FromString(known[4 : 4 + length]), known[4 + length :]
            if length:
                return f"refused: {message.refused.message}" if message.HasField("refused") else "opened"
    return ""
