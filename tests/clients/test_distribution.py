"""The SDK as others install it: a wheel that needs none of the services."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from importlib.metadata import requires
from alpaserve_client import AsyncClient, Client, InferRequest, PlannerClient, ProfilerClient, encode_tensor
from alpaserve.v1 import router_pb2
assert encode_tensor([1.5]).shape == [1]
assert not [name for name in sys.modules if name.partition(".")[0] in ("services", "alpaserve_cli", "opentelemetry")]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", str(directory), str(ROOT / "clients/python"))
    (built,) = directory.glob("*.whl")
    return built


def pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, cwd=ROOT.root)


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_types_and_the_contract(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    assert {"alpaserve_client/__init__.py", "alpaserve_client/py.typed"} <= names
    assert {"alpaserve/v1/router_pb2.py", "alpaserve/v1/router_pb2.pyi", "alpaserve/v1/planner_pb2_grpc.py"} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"alpaserve", "alpaserve_client"}


@pytest.mark.slow
def test_the_wheel_works_with_nothing_but_what_it_asks_for(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin/python"
    pip(python, "install", "--constraint", str(ROOT / "constraints.txt"), str(wheel))

    ran = subprocess.run([str(python), "-I", "-c", PROGRAM], check=False, capture_output=True, text=True, cwd=tmp_path)

    assert ran.returncode == 0, ran.stderr
