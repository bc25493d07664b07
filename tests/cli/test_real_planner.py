"""The same files planned and simulated here and by a real planner: the same answers."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.planning_files import options, with_batches, written
from tests.conftest import System

FILES = ("--spec", "--profiles", "--workload")
SHORT = ("--max-simulations", "300", "--output", "json")


@pytest.fixture(scope="module")
def planner(system: System) -> str:
    return system.start("planner").address


@pytest.mark.parametrize("batching", [(), ("--batching", 4), ("--batching-rule", "published")])
def test_a_planner_simulates_as_the_command_does(
    run: Run, planner: str, tmp_path: Path, batching: tuple[str, ...]
) -> None:
    paths = written(tmp_path) | {"--profiles": with_batches(tmp_path / "batches.json")}
    arguments = [*options(paths, *FILES, "--placement"), *batching]

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


def test_a_planner_plans_batches_as_the_command_does(run: Run, planner: str, tmp_path: Path) -> None:
    paths = written(tmp_path) | {"--profiles": with_batches(tmp_path / "batches.json")}
    arguments = [*options(paths, *FILES), "--max-simulations", "100", "--batching", "4", "--output", "json"]

    here = json.loads(run("plan", *arguments).stdout)
    there = json.loads(run("plan", *arguments, "--planner", planner).stdout)

    told = ("max_batch_size", "attainment", "held_out_attainment", "upper_bound")
    assert [there[key] for key in told] == [here[key] for key in told]
    assert here["max_batch_size"] == 4
    requests = {"m0": 20, "m1": 20}
    attained = sum(there["model_attainment"][name] * count for name, count in requests.items())
    assert attained == pytest.approx(40 * there["attainment"])


def test_a_planner_plans_windows_as_the_command_does(run: Run, planner: str, tmp_path: Path) -> None:
    chosen = ("--policy", "clockwork++", "--window", "0.2", "--output", "json")
    arguments = [*options(written(tmp_path), *FILES), *chosen]

    here = run("plan", *arguments)
    there = run("plan", *arguments, "--planner", planner)

    told, found = json.loads(there.stdout), json.loads(here.stdout)
    (tmp_path / "windows.json").write_text(there.stdout)
    simulated = run(
        "simulate", *options(written(tmp_path), *FILES), "--placement", tmp_path / "windows.json", "--output", "json"
    )
    assert [window["begin_s"] for window in told["windows"]] == [window["begin_s"] for window in found["windows"]]
    assert told["attainment"] == found["attainment"] == json.loads(simulated.stdout)["attainment"]


def test_windows_are_not_planned_for_the_running_system(run: Run, planner: str, tmp_path: Path) -> None:
    workload = options(written(tmp_path), "--workload")

    refused = run("plan", *workload, "--policy", "clockwork++", "--planner", planner)

    assert refused.exit_code != 0
    assert "cluster" in refused.stderr


def test_a_dispatch_rule_goes_along(run: Run, planner: str, tmp_path: Path) -> None:
    arguments = options(written(tmp_path), *FILES, "--placement")

    refused = run("simulate", *arguments, "--planner", planner, "--dispatch", "random")

    assert refused.exit_code != 0
    assert "'random'" in refused.stderr
    assert refused.stdout == ""


def test_a_planner_finds_the_fewest_devices_as_the_command_does(run: Run, planner: str, tmp_path: Path) -> None:
    arguments = [*options(written(tmp_path), *FILES), "--target", "0.4", *SHORT]

    here = json.loads(run("plan", *arguments).stdout)
    there = json.loads(run("plan", *arguments, "--planner", planner).stdout)

    told = ("target", "num_devices", "reached", "probes", "attainment", "upper_bound", "num_simulations")
    assert [there[key] for key in told] == [here[key] for key in told]
    assert here["reached"]


def test_a_planner_tells_of_a_target_out_of_reach(run: Run, planner: str, tmp_path: Path) -> None:
    arguments = [*options(written(tmp_path), *FILES), "--target", "1", *SHORT]

    finished = run("plan", *arguments, "--planner", planner)

    assert finished.exit_code == 3
    assert json.loads(finished.stdout)["reached"] is False


def test_a_planner_tells_the_bound_as_the_command_does(run: Run, planner: str, tmp_path: Path) -> None:
    arguments = [*options(written(tmp_path), *FILES), *SHORT]

    here = json.loads(run("plan", *arguments).stdout)
    there = json.loads(run("plan", *arguments, "--planner", planner).stdout)

    assert here["attainment"] <= here["upper_bound"] == there["upper_bound"] < 1


@pytest.mark.parametrize("kept", [(), ("--placement",)])
def test_a_planner_finds_the_capacity_that_the_command_does(
    run: Run, planner: str, tmp_path: Path, kept: tuple[str, ...]
) -> None:
    arguments = [*options(written(tmp_path), *FILES, *kept), "--vary", "rate", "--target", "0.4", *SHORT]

    here = json.loads(run("capacity", *arguments, "--precision", "0.2").stdout)
    there = json.loads(run("capacity", *arguments, "--precision", "0.2", "--planner", planner).stdout)

    assert there == here
    assert here["reached"]


def test_a_planner_plans_the_grid_that_the_command_does(run: Run, planner: str, tmp_path: Path) -> None:
    grid = ("--devices", "2,4", "--rate", "1,2", "--slo", "2,5", "--policy", "uniform,alpaserve")
    arguments = [*options(written(tmp_path), *FILES), *grid, *SHORT]

    here = json.loads(run("what-if", *arguments).stdout)
    there = json.loads(run("what-if", *arguments, "--planner", planner).stdout)

    assert len(here["cells"]) == 16
    assert there == here
