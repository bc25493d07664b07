"""`alpaserve what-if`: grids of plans, as tables, CSV and pictures."""

import csv
import json
from pathlib import Path

import pytest
from alpaserve_cli.plots import figure_text, panels_of, plot, varying

from services.planner.policies.variations import Cell, Scenario
from tests.cli.conftest import Run
from tests.cli.planning_files import options, written

FILES = ("--spec", "--profiles", "--workload")
SHORT = ("--max-simulations", "200")
PNG = b"\x89PNG\r\n"


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return written(tmp_path)


def test_every_combination_has_a_row(run: Run, paths: dict[str, Path], tmp_path: Path) -> None:
    table, picture = tmp_path / "grid.csv", tmp_path / "grid.png"
    grid = ("--devices", "2,4", "--rate", "0.5,1", "--slo", "2,5", "--policy", "uniform,selective-replication")

    finished = run(
        "what-if", *options(paths, *FILES), *grid, *SHORT, "--csv", table, "--png", picture, "--output", "json"
    )

    cells = json.loads(finished.stdout)["cells"]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert len(cells) == 16
    assert list(rows[0]) == list(cells[0])
    assert [row["attainment"] for row in rows] == [repr(cell["attainment"]) for cell in cells]
    assert [(cell["policy"], cell["num_devices"]) for cell in cells[:5]] == [("uniform", 2)] * 4 + [("uniform", 4)]
    assert all(cell["attainment"] <= cell["upper_bound"] for cell in cells)
    assert picture.read_bytes().startswith(PNG)


def test_a_cell_is_what_plan_finds_with_its_share_of_the_limit(run: Run, paths: dict[str, Path]) -> None:
    found = run("what-if", *options(paths, *FILES), "--devices", "2,4", *SHORT, "--output", "json")
    alone = run("plan", *options(paths, *FILES), "--max-simulations", "100", "--output", "json")

    (cell,) = (cell for cell in json.loads(found.stdout)["cells"] if cell["num_devices"] == 4)
    plan = json.loads(alone.stdout)
    told = ("attainment", "upper_bound", "num_simulations")
    assert [cell[key] for key in told] == [plan[key] for key in told]
    assert cell["slo_scale"] is None


def test_the_same_limits_print_the_same_grid(run: Run, paths: dict[str, Path]) -> None:
    asked = ("what-if", *options(paths, *FILES), "--cv", "1,2,4", *SHORT, "--output", "json")

    assert run(*asked).stdout == run(*asked).stdout


def test_a_table_is_printed_for_people(run: Run, paths: dict[str, Path]) -> None:
    finished = run("what-if", *options(paths, *FILES), "--devices", "2,4", *SHORT)

    assert finished.exit_code == 0
    assert finished.stdout.splitlines()[0].strip() == "What if"
    assert finished.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--devices", ""], "--devices"),
        (["--devices", "8,,16"], "--devices"),
        (["--devices", "0"], "--devices"),
        (["--devices", "1.5"], "--devices"),
        (["--devices", "4,4"], "--devices"),
        (["--rate", "nan"], "--rate"),
        (["--rate", "-1"], "--rate"),
        (["--rate", "1e12"], "requests; at most"),
        (["--cv", "fast"], "--cv"),
        (["--slo", "inf"], "--slo"),
        (["--policy", "alpaserve,"], "--policy"),
        (["--policy", "guess"], "'guess'"),
        (["--csv", "/nowhere/grid.csv"], "/nowhere"),
        (["--png", "/nowhere/grid.png"], "/nowhere"),
    ],
)
def test_grids_that_mean_nothing_are_refused(
    run: Run, paths: dict[str, Path], arguments: list[str], named: str
) -> None:
    finished = run("what-if", *options(paths, *FILES), *arguments, *SHORT)

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr


def test_an_unknown_axis_is_refused(run: Run, paths: dict[str, Path]) -> None:
    finished = run("what-if", *options(paths, *FILES), "--memory", "1,2")

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert "--memory" in finished.stderr


def cells(*scenarios: Scenario, policies: tuple[str, ...] = ("a",)) -> list[Cell]:
    return [Cell(policy, scenario, 0.5, None, 1) for policy in policies for scenario in scenarios]


def test_one_axis_is_lines_two_a_map_more_small_multiples() -> None:
    one = cells(Scenario(1), Scenario(2), policies=("a", "b"))
    two = cells(*(Scenario(n, rate) for n in (1, 2) for rate in (1.0, 2.0, 3.0)))
    three = cells(*(Scenario(n, rate, cv) for n in (1, 2) for rate in (1.0, 2.0, 3.0) for cv in (1.0, 2.0)))

    assert (varying(one), len(panels_of(one, varying(one)))) == (["num_devices"], 1)
    assert (varying(two), len(panels_of(two, varying(two)))) == (["rate_scale", "num_devices"], 1)
    assert [panel.title for panel in panels_of(three, varying(three))] == ["CV × 1", "CV × 2"]


@pytest.mark.parametrize(
    "grid",
    [
        cells(Scenario(4)),
        cells(Scenario(4), Scenario(8), policies=("a", "b")),
        cells(*(Scenario(n, slo_scale=slo) for n in (1, 2) for slo in (1.0, 2.0)), policies=("a", "b")),
    ],
)
def test_every_grid_can_be_drawn(grid: list[Cell], tmp_path: Path) -> None:
    plot(grid, tmp_path / "grid.png")

    assert (tmp_path / "grid.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(("share", "text"), [(100.0, "100"), (99.96, "99.9"), (0.0, "0.0"), (41.25, "41.2")])
def test_no_figure_is_rounded_up(share: float, text: str) -> None:
    assert figure_text(share) == text
