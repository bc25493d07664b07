"""The committed code is what the contract says."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "protos/gen/alpaserve"
PROJECTS = ("pyproject.toml", "clients/python/pyproject.toml")


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path}

    subprocess.run(
        [sys.executable, str(ROOT / "protos" / "generate.py"), str(tmp_path)],
        env=environment,
        check=True,
        capture_output=True,
    )

    made, committed = (
        {path.relative_to(root): path.read_bytes() for path in root.glob("alpaserve/**/*.py*") if path.suffix != ".pyc"}
        for root in (tmp_path, ROOT / "protos" / "gen")
    )
    assert made
    assert committed == made


def versions(pattern: str) -> set[str]:
    """Those that the committed code names, and checks for when it is imported."""
    return {found for path in GENERATED.rglob("*.py") for found in re.findall(pattern, path.read_text())}


@pytest.mark.parametrize(
    ("pattern", "packages"),
    [
        (r"# Protobuf Python Version: ([\d.]+)", ("protobuf", "types-protobuf")),
        (
            r"GRPC_GENERATED_VERSION = '([\d.]+)'",
            ("grpcio", "grpcio-status", "grpcio-health-checking", "grpcio-reflection", "grpcio-tools"),
        ),
    ],
    ids=["protobuf", "grpcio"],
)
def test_the_packages_ask_for_what_the_generated_code_needs(pattern: str, packages: tuple[str, ...]) -> None:
    (needed,) = versions(pattern)
    projects = [tomllib.loads((ROOT / path).read_text())["project"] for path in PROJECTS]
    asked = {
        requirement
        for project in projects
        for requirements in (project["dependencies"], *project["optional-dependencies"].values())
        for requirement in requirements
    }

    assert {f"{package}>={needed}" for package in packages} - asked == set()
