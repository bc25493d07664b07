"""The same files planned and simulated here and by a real planner: the same answers."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.planning_files import options, written
from tests.conftest import System

FILES = ("--spec", "--profiles", "--workload")


@pytest.fixture(scope="module")
def planner(system: System) -> str:
    return system.start("planner").address


def test_a_planner_simulates_as_the_command_does(run: Run, planner: str, tmp_path: Path) -> None:
    arguments = options(written(tmp_path), *FILES, "--placement")

    here = run("simulate", *arguments, "--output", "json")
    there = run("simulate", *arguments, "--planner", planner, "--output", "json")

    assert (here.exit_code, there.exit_code) == (0, 0)
    assert json.loads(there.stdout) == json.loads(here.stdout)
    assert 0 < json.loads(here.stdout)["attainment"] < 1


def test_a_planner_plans_as_the_command_does(run: Run, planner: str, tmp_path: Path) -> None:
    arguments = [*options(written(tmp_path), *FILES), "--max-simulations", "100", "--seed", "3", "--output", "json"]

    here = json.loads(run("plan", *arguments).stdout)
    there = json.loads(run("plan", *arguments, "--planner", planner).stdout)

    told = [{key: group[key] for key in ("inter_op", "intra_op", "devices", "models")} for group in there["groups"]]
    assert told == here["groups"]
    assert (there["attainment"], there["num_simulations"]) == (here["attainment"], here["num_simulations"])


def test_a_dispatch_rule_goes_along(run: Run, planner: str, tmp_path: Path) -> None:
    arguments = options(written(tmp_path), *FILES, "--placement")

    refused = run("simulate", *arguments, "--planner", planner, "--dispatch", "random")

    assert refused.exit_code != 0
    assert "'random'" in refused.stderr
    assert refused.stdout == ""
