"""`alpaserve capacity`: how much load a cluster sustains."""

import json
from pathlib import Path

import pytest

from services.core.documents import parse_placement
from tests.cli.conftest import Run
from tests.cli.planning_files import options, written

FILES = ("--spec", "--profiles", "--workload")
SHORT = ("--max-simulations", "300", "--precision", "0.2", "--output", "json")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return written(tmp_path)


def test_the_highest_scale_is_among_what_was_tried(run: Run, paths: dict[str, Path]) -> None:
    finished = run("capacity", *options(paths, *FILES), "--vary", "rate", "--target", "0.5", *SHORT)

    document = json.loads(finished.stdout)
    reached = [probe for probe in document["probes"] if (probe["attainment"] or 0) >= 0.5]
    best = max(reached, key=lambda probe: probe["scale"])
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert (document["vary"], document["target"], document["reached"]) == ("rate", 0.5, True)
    assert (document["scale"], document["rate_per_s"]) == (best["scale"], best["rate_per_s"])
    assert len(parse_placement(document).groups) > 0


def test_a_placement_that_is_kept_sustains_no_more(run: Run, paths: dict[str, Path]) -> None:
    asked = (*options(paths, *FILES), "--vary", "rate", "--target", "0.4", *SHORT)

    kept = json.loads(run("capacity", *asked, *options(paths, "--placement")).stdout)
    planned = json.loads(run("capacity", *asked).stdout)

    assert kept["scale"] < planned["scale"]
    assert kept["groups"] == json.loads(paths["--placement"].read_text())["groups"]


def test_burstiness_can_be_scaled_instead(run: Run, paths: dict[str, Path]) -> None:
    finished = run("capacity", *options(paths, *FILES), "--vary", "cv", "--target", "0.5", *SHORT)

    document = json.loads(finished.stdout)
    assert document["vary"] == "cv"
    assert len({probe["rate_per_s"] for probe in document["probes"]}) == 1


def test_a_target_at_no_scale_has_an_exit_code_of_its_own(run: Run, paths: dict[str, Path]) -> None:
    paths["--spec"].write_text(paths["--spec"].read_text().replace("slo_s: 0.6", "slo_s: 0.0001"))

    finished = run("capacity", *options(paths, *FILES), "--vary", "cv", "--target", "0.99", *SHORT)

    document = json.loads(finished.stdout)
    assert finished.exit_code == 3
    assert (document["reached"], document["scale"], document["rate_per_s"]) == (False, None, None)
    assert "groups" not in document


def test_tables_say_what_is_sustained(run: Run, paths: dict[str, Path]) -> None:
    finished = run("capacity", *options(paths, *FILES), "--vary", "rate", "--target", "0.5", *SHORT[:4])

    assert finished.exit_code == 0
    assert "50.00 % is attained up to rate scale" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--vary", "size"], "'size'"),
        (["--vary", "rate", "--target", "1.2"], "--target"),
        (["--vary", "rate", "--target", "nan"], "--target"),
        (["--vary", "rate", "--precision", "0"], "--precision"),
        (["--vary", "rate", "--precision", "nan"], "--precision"),
        (["--vary", "rate", "--policy", "guess"], "'guess'"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    run: Run, paths: dict[str, Path], arguments: list[str], named: str
) -> None:
    finished = run("capacity", *options(paths, *FILES), *arguments)

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr


def test_files_or_a_planner_are_needed(run: Run) -> None:
    assert run("capacity", "--vary", "rate").exit_code == 2
