"""Somebody who follows a README."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.snippets import ROOT, Snippet

TYPESCRIPT: Final = ROOT / "clients/typescript"
_SERVING: Final = "Ctrl-C ends it"
# What a reader would put in the place of what a README says.
_PORTS: Final = re.compile(r"\b5005([123])\b")
_UP: Final = re.compile(r"(alpaserve up)\b")
_CHECKPOINT: Final = "/path/to/checkpoint"
_TYPESCRIPT_FLAGS: Final = (
    *("--module", "nodenext", "--target", "es2022", "--lib", "es2022,esnext.disposable"),
    *("--strict", "--types", "node"),
)


@dataclass
class Reader:
    """Does what snippets say in a directory that looks like the repository's root; `ports` are those of the router,
    the planner, the profiler and the planner's page."""

    directory: Path
    ports: Sequence[int]
    checkpoint: Path = Path(_CHECKPOINT)
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        for room in ("services", "clients", "deploy", "benchmarks"):
            (self.directory / room).symlink_to(ROOT / room)
        (self.directory / ".venv").symlink_to(sys.prefix)

    def follow(self, snippet: Snippet) -> str:
        """Do what a snippet says; what that printed.

        Raises: AssertionError with what was printed, if that failed.
        """
        if snippet.language == "sh":
            return "".join(self._command(command) for command in snippet.commands())
        if snippet.language == "yaml":
            (self.directory / "spec.yaml").write_text(snippet.text)
            return ""
        program = {"python": self._python, "ts": self._typescript}[snippet.language]
        return program(self._adapted(snippet.text))

    def _command(self, command: str) -> str:
        adapted = self._adapted(command)
        if not adapted.endswith("&"):
            return self._run("bash", "-c", adapted)
        log = self.directory / "background.log"
        process = subprocess.Popen(
            ["bash", "-c", f"exec {adapted.removesuffix('&')}"],
            cwd=self.directory,
            env=self._environment(),
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )
        self.stack.callback(_stop, process)
        while _SERVING not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        return log.read_text()

    def _python(self, text: str) -> str:
        return self._run(sys.executable, "-c", text)

    def _typescript(self, text: str) -> str:
        """Compiled as strictly as its reader's compiler may be."""
        assert (TYPESCRIPT / "node_modules").exists(), "clients/typescript has no node_modules: make test-typescript"
        compiler = str(TYPESCRIPT / "node_modules/.bin/tsc")
        package = self.directory / "node_modules/@alpaserve/client"
        if not package.exists():
            package.mkdir(parents=True)
            shutil.copy(TYPESCRIPT / "package.json", package)
            for scope in ("@bufbuild", "@grpc", "@types"):
                (package.parents[1] / scope).symlink_to(TYPESCRIPT / "node_modules" / scope)
            self._run(compiler, "--project", str(TYPESCRIPT / "tsconfig.build.json"), "--outDir", str(package / "dist"))
        (self.directory / "snippet.mts").write_text(text)
        self._run(compiler, *_TYPESCRIPT_FLAGS, "snippet.mts")
        return self._run("node", "snippet.mjs")

    def _adapted(self, text: str) -> str:
        text = _UP.sub(rf"\1 --port {self.ports[0]}", text).replace(_CHECKPOINT, str(self.checkpoint))
        return _PORTS.sub(lambda found: str(self.ports[int(found[1]) - 1]), text)

    def _environment(self) -> dict[str, str]:
        services = zip(("ROUTER", "PLANNER", "PROFILER"), self.ports[:3], strict=True)
        addresses = {f"ALPASERVE_{service}": f"127.0.0.1:{port}" for service, port in services}
        path = os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ["PATH"]))
        return os.environ | addresses | {"HOME": str(self.directory), "PATH": path}

    def _run(self, *command: str) -> str:
        ended = subprocess.run(
            command, cwd=self.directory, env=self._environment(), capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
        return ended.stdout


@contextmanager
def reading(directory: Path, ports: Sequence[int], checkpoint: Path = Path(_CHECKPOINT)) -> Iterator[Reader]:
    """A reader; what was started in the background ends with the context."""
    with ExitStack() as stack:
        yield Reader(directory, ports, checkpoint, stack)


def free_ports() -> Sequence[int]:
    """In a row, as `alpaserve up` takes them, its page's too, and free now."""
    for first in range(20_000, 30_000, 4):
        with ExitStack() as stack:
            try:
                for port in range(first, first + 4):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return range(first, first + 4)
    raise AssertionError("no four free ports in a row")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(60)
