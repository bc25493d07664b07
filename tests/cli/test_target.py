"""`alpaserve plan --target`: the fewest devices that reach it."""

import json
from pathlib import Path

import pytest

from services.core.documents import parse_placement
from tests.cli.conftest import Run
from tests.cli.planning_files import options, written

FILES = ("--spec", "--profiles", "--workload")
SHORT = ("--max-simulations", "400", "--output", "json")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return written(tmp_path)


def test_the_plan_on_the_fewest_devices_is_a_placement_with_what_was_tried(run: Run, paths: dict[str, Path]) -> None:
    finished = run("plan", *options(paths, *FILES), "--target", "0.4", *SHORT)

    document = json.loads(finished.stdout)
    tried = {probe["num_devices"]: probe for probe in document["probes"]}
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert (document["target"], document["reached"]) == (0.4, True)
    assert document["attainment"] == tried[document["num_devices"]]["attainment"] >= 0.4
    assert document["upper_bound"] == tried[document["num_devices"]]["upper_bound"] >= document["attainment"]
    assert document["num_devices"] < 4
    assert all(probe["attainment"] is None or probe["attainment"] < 0.4 for size, probe in tried.items() if size < 2)
    devices = [device for group in parse_placement(document).groups for device in group.devices]
    assert max(devices) < document["num_devices"]
    assert document["num_simulations"] <= 400


def test_fewer_devices_are_enough_for_less(run: Run, paths: dict[str, Path]) -> None:
    sizes = [
        json.loads(run("plan", *options(paths, *FILES), "--target", target, *SHORT).stdout)["num_devices"]
        for target in (0.1, 0.6)
    ]

    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1]


def test_a_target_out_of_reach_is_told_by_the_exit_code_and_the_document(run: Run, paths: dict[str, Path]) -> None:
    finished = run("plan", *options(paths, *FILES), "--target", "1", *SHORT)

    document = json.loads(finished.stdout)
    assert finished.exit_code == 3
    assert (document["reached"], document["num_devices"]) == (False, 4)
    assert len(document["groups"]) > 0
    assert document["attainment"] < 1


def test_tables_tell_what_was_tried(run: Run, paths: dict[str, Path]) -> None:
    finished = run("plan", *options(paths, *FILES), "--target", "0.4", "--max-simulations", "400")

    assert finished.exit_code == 0
    assert "Devices tried" in finished.stdout
    assert "devices attain 40.00 %" in finished.stdout


@pytest.mark.parametrize("target", ["0", "-0.5", "1.5", "nan", "inf"])
def test_targets_that_are_none_are_refused(run: Run, paths: dict[str, Path], target: str) -> None:
    finished = run("plan", *options(paths, *FILES), "--target", target)

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert "--target" in finished.stderr
