"""`alpaserve diff`: what going from one placement file to another changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.planning_files import PLACEMENT, V100, options, written


def group(inter_op: int, devices: list[int], *models: str) -> dict[str, Any]:
    return {"inter_op": inter_op, "intra_op": 1, "devices": devices, "models": list(models)}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return written(tmp_path)


@pytest.fixture
def after(tmp_path: Path) -> Path:
    """The first group loses m1; the second makes way for a pipeline."""
    path = tmp_path / "after.json"
    groups = [group(2, [0, 1], "m0"), group(2, [2, 3], "m0", "m1")]
    path.write_text(json.dumps(PLACEMENT | {"groups": groups}))
    return path


def test_groups_replicas_and_bytes_are_told(run: Run, paths: dict[str, Path], after: Path) -> None:
    finished = run("diff", paths["--placement"], after, *options(paths, "--spec", "--profiles"), "--output", "json")

    document = json.loads(finished.stdout)
    profiles = {one["model"]: one["profiles"] for one in json.loads(V100.read_text())["models"]}
    weights = [
        sum(stage["stage_weight_bytes"])
        for name in ("bert-1.3b", "bert-2.6b")
        for stage in profiles[name]
        if (stage["inter_op"], stage["intra_op"], stage["batch_size"]) == (2, 1, 1)
    ]
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert [one["devices"] for one in document["kept"]] == [[0, 1]]
    assert [one["devices"] for one in document["formed"]] == [[2, 3]]
    assert [one["devices"] for one in document["dissolved"]] == [[2]]
    assert document["models"] == {
        "m0": {"added": [1], "removed": [1]},
        "m1": {"added": [1], "removed": [0]},
    }
    assert (document["num_loads"], document["num_unloads"]) == (2, 2)
    assert document["load_bytes"] == sum(weights)


def test_without_profiles_the_bytes_are_unknown(run: Run, paths: dict[str, Path], after: Path) -> None:
    document = json.loads(run("diff", paths["--placement"], after, "--output", "json").stdout)

    assert document["load_bytes"] is None


def test_a_table_is_printed_for_people(run: Run, paths: dict[str, Path], after: Path) -> None:
    finished = run("diff", paths["--placement"], after)

    assert finished.exit_code == 0
    assert "dissolved" in finished.stdout
    assert finished.stdout.splitlines()[-1] == "2 replicas to load, 2 to unload"


def test_equal_placements_differ_in_nothing(run: Run, paths: dict[str, Path]) -> None:
    document = json.loads(run("diff", *[paths["--placement"]] * 2, "--output", "json").stdout)

    assert (document["formed"], document["dissolved"], document["models"]) == ([], [], {})


@pytest.mark.parametrize("option", ["--spec", "--profiles"])
def test_files_that_go_together_are_asked_for_together(
    run: Run, paths: dict[str, Path], after: Path, option: str
) -> None:
    finished = run("diff", paths["--placement"], after, option, paths[option])

    assert (finished.exit_code, finished.stdout) == (2, "")


def test_a_placement_that_the_spec_does_not_allow_is_refused(run: Run, paths: dict[str, Path], after: Path) -> None:
    after.write_text(after.read_text().replace("m1", "m9"))

    finished = run("diff", paths["--placement"], after, *options(paths, "--spec", "--profiles"))

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert "'m9'" in finished.stderr


def test_what_the_transition_takes_is_told_for_a_rate_of_loading(run: Run, paths: dict[str, Path], after: Path) -> None:
    files = options(paths, "--spec", "--profiles")
    finished = run("diff", paths["--placement"], after, *files, "--load-bytes-per-s", "1e9", "--output", "json")
    for_people = run("diff", paths["--placement"], after, *files, "--load-bytes-per-s", "1e9")

    document = json.loads(finished.stdout)
    assert document["transition_s"] >= document["load_bytes"] / 2 / 1e9
    assert document["down"] == []
    assert f"the transition takes {document['transition_s']:.2f} s" in for_people.stdout


def test_a_rate_of_loading_needs_the_weights(run: Run, paths: dict[str, Path], after: Path) -> None:
    finished = run("diff", paths["--placement"], after, "--load-bytes-per-s", "1e9")

    assert (finished.exit_code, finished.stdout) == (2, "")
