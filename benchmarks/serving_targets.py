"""The servers that are compared, each a set of processes that come and go."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.serving_system import Groups, serving

RAY_PYTHON = "RAY_SERVE_PYTHON"
HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1"}
# One device, as the bare proxy has one backend: only the way of a request is left. The SLO is there to be checked.
INSTANT = Groups(num_groups=1, stage_s=0.0, slo_s=5.0)


@dataclass(frozen=True, slots=True)
class Running:
    """Where it serves, and the processes of its first hop and of what is behind."""

    address: str
    front: tuple[int, ...]
    behind: tuple[int, ...] = ()


Target = Callable[[], AbstractContextManager[Running]]


@contextmanager
def process(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """The address that it prints as its last line before it serves, and its id."""
    with TemporaryDirectory() as directory, (Path(directory) / "log").open("w") as log:
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **(env or {})}
        )
        try:
            address = running.stdout.readline().strip() if running.stdout else ""
            if not address:
                raise RuntimeError(f"{' '.join(command)} did not serve:\n{Path(log.name).read_text()[-2000:]}")
            yield address, running.pid
        finally:
            running.terminate()
            running.wait(60)


@contextmanager
def bare(*arguments: str) -> Iterator[tuple[str, int]]:
    with process([sys.executable, "-m", "benchmarks.serving_bare", *arguments]) as running:
        yield running


@contextmanager
def one_hop() -> Iterator[Running]:
    with bare("echo") as (address, pid):
        yield Running(address, (pid,))


@contextmanager
def two_hops() -> Iterator[Running]:
    with bare("echo") as (backend, behind), bare("proxy", backend) as (address, front):
        yield Running(address, (front,), (behind,))


def system(num_routers: int) -> Target:
    @contextmanager
    def running() -> Iterator[Running]:
        with serving(INSTANT, num_routers) as found:
            yield Running(found.address, tuple(router.pid for router in found.routers), (found.worker.pid,))

    return running


def ray_serve(flags: Mapping[str, str]) -> Target:
    @contextmanager
    def running() -> Iterator[Running]:
        script = str(Path(__file__).with_name("serving_ray.py"))
        with process([os.environ.get(RAY_PYTHON, sys.executable), "-P", script], flags) as (address, pid):
            yield Running(address, (pid,))

    return running


def ray_serve_is_there() -> bool:
    """Whether the interpreter that `RAY_SERVE_PYTHON` names has Ray Serve."""
    python = shutil.which(os.environ.get(RAY_PYTHON, sys.executable))
    if python is None:
        return False
    command = [python, "-P", "-c", "import ray.serve, alpaserve.v1.router_pb2_grpc"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
