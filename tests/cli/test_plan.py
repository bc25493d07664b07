"""`alpaserve plan` on files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.planning_files import SPEC, options, with_batches, written

PLAN = ("--spec", "--profiles", "--workload")
FIGURES = {"policy", "attainment", "search_s", "num_simulations", "upper_bound", "unplaced"}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return written(tmp_path)


@pytest.mark.parametrize("policy", ["alpaserve", "alpaserve-paper", "selective-replication", "fixed-2x1"])
def test_what_plan_prints_is_a_placement_that_simulates_as_predicted(
    run: Run, paths: dict[str, Path], tmp_path: Path, policy: str
) -> None:
    planned = run("plan", *options(paths, *PLAN), "--policy", policy, "--output", "json")
    placement = tmp_path / "planned.json"
    placement.write_text(planned.stdout)

    simulated = run("simulate", *options(paths, *PLAN), "--placement", placement, "--output", "json")

    document = json.loads(planned.stdout)
    assert planned.exit_code == 0
    assert planned.stderr == ""
    assert set(document) >= FIGURES
    assert document["policy"] == policy
    assert document["attainment"] == json.loads(simulated.stdout)["attainment"]


def test_a_plan_with_batches_is_a_placement_that_allows_them(run: Run, paths: dict[str, Path], tmp_path: Path) -> None:
    paths["--profiles"] = with_batches(tmp_path / "batches.json")
    chosen = ("--policy", "alpaserve-paper", "--output", "json")
    plain = json.loads(run("plan", *options(paths, *PLAN), *chosen).stdout)
    planned = run("plan", *options(paths, *PLAN), *chosen, "--batching", "4")
    placement = tmp_path / "planned.json"
    placement.write_text(planned.stdout)

    simulated = run("simulate", *options(paths, *PLAN), "--placement", placement, "--output", "json")

    document = json.loads(planned.stdout)
    assert document["max_batch_size"] == 4
    assert document["groups"] == plain["groups"]
    assert document["upper_bound"] is None
    assert plain["attainment"] < document["attainment"] == json.loads(simulated.stdout)["attainment"]


@pytest.mark.parametrize("target", [(), ("--target", "0.9"), ("--planner", "127.0.0.1:1")])
@pytest.mark.parametrize(
    ("arguments", "says"), [(("--batching", "0"), "got 0"), (("--batching", "2", "--policy", "clockwork++"), "windows")]
)
def test_batches_that_cannot_be_planned_are_refused_before_anything_is_searched(
    run: Run, paths: dict[str, Path], arguments: tuple[str, ...], says: str, target: tuple[str, ...]
) -> None:
    finished = run("plan", *options(paths, *PLAN), *arguments, *target)

    assert finished.exit_code == 2
    assert says in finished.stderr


def test_the_dispatch_that_was_planned_for_is_recorded(run: Run, paths: dict[str, Path]) -> None:
    chosen = ("--dispatch", "earliest-finish", "--policy", "uniform", "--output", "json")

    finished = run("plan", *options(paths, *PLAN), *chosen)

    assert json.loads(finished.stdout)["dispatch"] == "earliest-finish"


def test_the_same_seed_and_simulations_print_the_same_plan(run: Run, paths: dict[str, Path]) -> None:
    chosen = (*options(paths, *PLAN), "--seed", "3", "--max-simulations", "80", "--output", "json")

    first, again = (json.loads(run("plan", *chosen).stdout) for _ in range(2))

    assert first.pop("search_s") >= 0
    again.pop("search_s")
    assert first == again
    assert first["num_simulations"] <= 80


def test_a_time_budget_is_kept(run: Run, paths: dict[str, Path]) -> None:
    finished = run("plan", *options(paths, *PLAN), "--time-budget", "1", "--output", "json")

    assert finished.exit_code == 0
    # Without a budget the walk would not end by the clock at all, so ten times it tells enough.
    assert 0.9 < json.loads(finished.stdout)["search_s"] < 10


def test_models_that_fit_nowhere_are_listed_with_a_reason(run: Run, paths: dict[str, Path]) -> None:
    paths["--spec"].write_text(SPEC.replace("14e9", "1000e6"))

    finished = run("plan", *options(paths, *PLAN), "--output", "json")

    document = json.loads(finished.stdout)
    assert finished.exit_code == 0
    assert [row["model"] for row in document["unplaced"]] == ["m1"]
    assert "memory_bytes is 1000000000" in document["unplaced"][0]["reason"]


def test_a_table_is_printed_for_people_and_no_progress_when_nobody_watches(run: Run, paths: dict[str, Path]) -> None:
    finished = run("plan", *options(paths, *PLAN), "--max-simulations", "30")

    assert finished.exit_code == 0
    assert "predicted" in finished.stdout
    assert "upper bound" in finished.stdout
    assert finished.stderr == ""


def test_it_runs_as_a_process(paths: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "alpaserve_cli", "plan", *options(paths, *PLAN), "--max-simulations", "30"]

    ended = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, check=False)

    assert ended.returncode == 0
    assert ended.stderr == ""
    assert set(json.loads(ended.stdout)) >= FIGURES


def test_a_cluster_that_holds_no_model_is_an_error(run: Run, paths: dict[str, Path]) -> None:
    paths["--spec"].write_text(SPEC.replace("14e9", "1e6"))

    finished = run("plan", *options(paths, *PLAN), "--output", "json")

    assert finished.exit_code == 1
    assert finished.stdout == ""
    assert "memory_bytes is 1000000" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--policy", "guess"], "selective-replication"),
        (["--policy", "fixed-9x9"], "81 devices"),
        (["--seed", "-1"], "-1"),
        (["--time-budget", "0"], "0.0"),
        (["--time-budget", "nan"], "nan"),
        (["--max-simulations", "0"], "0"),
        (["--max-simulations", "5", "--time-budget", "5"], "exclude"),
        (["--dispatch", "random"], "'random'"),
        (["--policy", "clockwork++", "--window", "0"], "0.0"),
        (["--resamples", "-1"], "-1"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    run: Run, paths: dict[str, Path], arguments: list[str], named: str
) -> None:
    finished = run("plan", *options(paths, *PLAN), *arguments, "--output", "json")

    assert finished.exit_code == 2
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr


@pytest.mark.parametrize("target", [(), ("--target", "0.9"), ("--planner", "127.0.0.1:1")])
@pytest.mark.parametrize(
    ("policy", "option", "user"),
    [
        ("alpaserve", ("--window", "60"), "clockwork++"),
        ("alpaserve-paper", ("--window", "5"), "clockwork++"),
        ("alpaserve-paper", ("--resamples", "2"), "alpaserve"),
        ("clockwork++", ("--resamples", "0"), "alpaserve"),
    ],
)
def test_options_that_the_policy_does_not_use_are_refused(
    run: Run, paths: dict[str, Path], policy: str, option: tuple[str, str], user: str, target: tuple[str, ...]
) -> None:
    finished = run("plan", *options(paths, *PLAN), "--policy", policy, *option, *target, "--output", "json")

    assert finished.exit_code == 2
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert f"{option[0]} is only for the policy {user}; {policy} would ignore it" in finished.stderr


@pytest.mark.parametrize(
    ("policy", "option"), [("clockwork++", ("--window", "1")), ("alpaserve", ("--resamples", "1"))]
)
def test_options_that_the_policy_uses_are_taken(
    run: Run, paths: dict[str, Path], policy: str, option: tuple[str, str]
) -> None:
    chosen = ("--policy", policy, *option, "--max-simulations", "30", "--output", "json")

    finished = run("plan", *options(paths, *PLAN), *chosen)

    assert finished.exit_code == 0
    assert json.loads(finished.stdout)["policy"] == policy
